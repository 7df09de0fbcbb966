"""Ten thousand turns of knobs over five widgets: does anything break, stay behind, or grow?

    .venv/bin/python benchmarks/soak.py                     # 10,000 moves
    .venv/bin/python benchmarks/soak.py --run-minutes 10    # a run that nobody touches
    .venv/bin/python benchmarks/soak.py --browser           # a shorter one in Chromium

A real kernel; moves arrive as the messages of a page, one answered before the next is sent,
and frames are drawn by a page without a browser (`tests/page.py`), some by two.  A drag is ten
moves; then the next picture is awaited, and now and then Play, Stop, Step or Reset is pressed,
a seed, a size or a choice set, an earlier row looked at, a mark in the figure dragged.
Memory is the kernel's resident set after a collection of garbage.  What the first tenth takes
(libraries, programs, threads) is warming up; growth is counted from there.
"""

import argparse
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from side_by_side import ROOT, machine


sys.path.insert(0, str(ROOT / "tests"))  # where the pages are
from page import Page


MOST = 50.0  # MB that may be added
DRAG = 10  # moves
PRESSES = ("Play", "Play", "Step", "Reset", "Code")  # Play is Stop while it plays
KEYS = ("ArrowLeft", "ArrowRight", "PageUp", "PageDown")
SLIDERS = ("FloatSliderModel", "FloatLogSliderModel", "FloatTextModel")

SETUP = """
import gc, ctypes, json, os, threading
import board, jax, labkit.problems, labkit.views, psutil
from ipywidgets.widgets.widget import _instances
from labkit.dynamics import edge_of_stability
from labkit.landscapes import surface_descent
from labkit.relaxations import graph_relaxation, soft_sort
from widgets import Explorer
from widgets.scheduler import scheduler

def sample():
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # or freed memory would still be counted
    except AttributeError:
        pass
    rss = psutil.Process().memory_info().rss / 1e6
    ours = lambda thread: not type(thread).__module__.startswith("zmq")  # which keeps one
    names = sorted(thread.name for thread in threading.enumerate() if ours(thread))
    print(json.dumps({"rss": rss, "threads": names, "widgets": len(_instances)}))

def show(explorer):
    shown.append(explorer)
    print(explorer.model_id)

shown = []
"""
# A sweep, a descent, the edge of stability, a raster and a graph that are edited, and a graph
# whose size and task are chosen.
SCENES = {
    "sweep": "Explorer(soft_sort.example(), soft_sort.views, say=soft_sort.say)",
    "descent": "Explorer(surface_descent.example(), surface_descent.views)",
    "edge": "Explorer(edge_of_stability.example(), edge_of_stability.views, every=2, pace=None)",
    "board": "Explorer(board.board(), board.views)",
    "graph": "Explorer(graph_relaxation.example(), graph_relaxation.views)",
}


class Sample(NamedTuple):
    """The kernel at rest: memory in MB, the names of its threads, how many widgets."""

    rss: float
    threads: list[str]
    widgets: int


class Soaked(NamedTuple):
    """What a soak saw."""

    moves: int
    minutes: float
    frames: int
    samples: list[Sample]  # from the warm-up on
    left: list[str]  # threads that were not there before the widgets, after they were closed
    widgets: int  # that were not there before
    errors: list[str]

    @property
    def growth(self) -> float:
        """MB from the warm-up to the end."""
        return self.samples[-1].rss - self.samples[0].rss


class Hand:
    """What a person does to one Explorer, drawn by lot."""

    def __init__(self, page: Page, explorer: str, lot: random.Random):
        self.page, self.lot = page, lot
        parts = list(page.parts(explorer))
        kind = {part: page.models[part]["_model_name"] for part in parts}
        named = lambda *kinds: [part for part in parts if kind[part] in kinds]
        label = lambda part: page.models[part]["description"].replace("Stop", "Play")
        self.view = next(part for part in parts if part in page.figures)
        self.buttons = {label(part): part for part in named("ButtonModel")}
        self.sliders = named(*SLIDERS)
        self.stepped, self.chosen = named("BoundedIntTextModel"), named("DropdownModel")
        self.first = {part: page.models[part]["value"] for part in self.stepped}
        (self.seed,), self.ghost = named("IntTextModel"), named("ToggleButtonModel")
        self.scrubber = next(iter(named("IntSliderModel")), None)
        (self.status,) = named("HTMLModel")

    @property
    def says(self) -> str:
        """What stands beside the buttons."""
        return self.page.models[self.status]["value"]

    @property
    def figure(self) -> Any:
        """The first page's figure."""
        return self.page.figures[self.view][0]

    def drag(self) -> int:
        """Ten moves of a slider, a box, or a mark in the figure; returns how many they were."""
        edits = self.figure.structure.get("edits", [])
        if not self.sliders or (edits and self.lot.random() < 0.3):
            edit = self.lot.choice(edits)
            for _ in range(DRAG):
                at, to = self._gesture(edit)
                about = {"gesture": edit["gesture"], "field": edit["field"], "at": at, "to": to}
                self.page.say(self.view, kind="edit", **about)
            return DRAG
        slider = self.lot.choice(self.sliders)
        state = self.page.models[slider]
        low, high = state.get("min", -1.0), state.get("max", 4.0)
        log = state["_model_name"] == "FloatLogSliderModel"
        at = self.lot.uniform(low, high)
        for _ in range(DRAG):
            at = min(high, max(low, at + self.lot.gauss(0.0, (high - low) / 40)))
            self.page.set(slider, value=10.0**at if log else at)
        return DRAG

    def _gesture(self, edit: dict) -> tuple[list[int], list[float]]:
        arrays, trace = self.figure.arrays, edit["trace"]
        if edit["gesture"] == "paint":
            cell = self.lot.randrange(arrays[trace, "z"].size)
            return [cell], [float(self.lot.random() < 0.5)]
        n = len(arrays[trace, "x"])
        if edit["gesture"] == "join":
            i, j = self.lot.sample(range(n), 2)
            return [i * n + j, j * n + i], []
        index = self.lot.randrange(n)
        place = [arrays[trace, axis][index] for axis in "xy"]
        return [index], [float(at + self.lot.gauss(0.0, 0.1)) for at in place]

    def press(self) -> None:
        """A button, a seed, a size, a choice, an earlier row, the run before, another theme."""
        page, lot = self.page, self.lot
        what = lot.choice([*PRESSES, "seed", "size", "choice", "back", "ghost", "theme"])
        if what in self.buttons:
            page.click(self.buttons[what])
        elif what == "seed":
            page.set(self.seed, value=lot.randrange(100))
        elif what == "size" and self.stepped:
            box = lot.choice(self.stepped)
            page.set(box, value=self.first[box] + lot.randrange(2))
        elif what == "choice" and self.chosen:
            page.set(lot.choice(self.chosen), index=lot.randrange(2))
        elif what == "back" and self.scrubber and not page.models[self.scrubber]["disabled"]:
            page.set(self.scrubber, value=lot.randint(0, page.models[self.scrubber]["max"]))
        elif what == "ghost" and self.ghost:
            page.set(self.ghost[0], value=lot.random() < 0.5)
        elif what == "theme":
            theme = lot.choice(["light", "dark"])
            page.say(self.view, kind="look", theme=theme, width=lot.choice([500, 800]))

    def visit(self) -> None:
        """Compile every program that later moves may need."""
        sizes = [
            [(box, {"value": self.first[box] + more}) for more in (1, 0)] for box in self.stepped
        ]
        choices = [[(chosen, {"index": index}) for index in (1, 0)] for chosen in self.chosen]
        for states in itertools.product(*sizes, *choices):
            for model, state in states:
                before, known = self.figure.seq, self.page.models[model]
                if known | state != known:
                    self.page.set(model, **state)
                    self.sees(before)

    def sees(self, before: int) -> None:
        """Wait until a picture after this one is drawn."""
        self.page.wait_until(lambda: self.figure.drawn > before, f"a picture ({self.says})")


def opened(page: Page, lot: random.Random, scenes: Mapping[str, str] = SCENES) -> list[Hand]:
    """The widgets, each drawn once, and a hand for each."""
    hands = []
    for scene in scenes.values():
        hands.append(Hand(page, page.execute(f"show({scene})").splitlines()[-1], lot))
        hands[-1].sees(0)
    return hands


def sampled(page: Page) -> Sample:
    """The kernel as it is now."""
    return Sample(**json.loads(page.execute("sample()").splitlines()[-1]))


def soak(
    moves: int,
    minutes: float = 1e9,
    samples: int = 20,
    scenes: Mapping[str, str] = SCENES,
    seed: int = 0,
) -> Soaked:
    """So many moves, or as many as there can be in so many minutes."""
    lot, errors, done = random.Random(seed), [], 0
    with Page(others=1) as page:
        page.execute(SETUP)
        before = sampled(page)
        hands = opened(page, lot, scenes)
        for hand in hands:
            hand.visit()

        def go(until: int, share: float) -> None:
            nonlocal done
            while done < until and time.monotonic() - began < share * 60 * minutes:
                hand = lot.choice(hands)
                seq = hand.figure.seq
                done += hand.drag()
                hand.sees(seq)
                if "Error" in hand.says or "error-color" in hand.says:
                    errors.append(hand.says)
                if lot.random() < 0.5:
                    lot.choice(hands).press()

        began = time.monotonic()
        seen = []
        for part in range(2, samples + 3):  # two of them are the warm-up
            go(moves * part // (samples + 2), part / (samples + 2))
            seen.append(sampled(page))
        took = (time.monotonic() - began) / 60
        page.leave()
        page.execute("[explorer.close() for explorer in shown]; shown.clear(); hand = None")
        named = lambda: [t for t in sampled(page).threads if t.startswith("labkit")]
        page.wait_until(lambda: not named(), "the threads of the widgets end")
        after = sampled(page)
        errors += page.complaints + ([page.log()] if page.log() else [])
        left = sorted(set(after.threads) - set(before.threads))
        return Soaked(done, took, page.frames, seen, left, after.widgets - before.widgets, errors)


def left_running(minutes: float) -> tuple[np.ndarray, np.ndarray]:
    """Minutes and MB of a kernel in which the edge of stability runs and nobody does anything."""
    with Page() as page:
        page.execute(SETUP)
        hands = opened(page, random.Random(0))
        edge = hands[list(SCENES).index("edge")]
        page.wait_until(lambda: "ready" in edge.says, "its first rows")
        page.click(edge.buttons["Play"])
        began, seen = time.monotonic(), []
        while (now := (time.monotonic() - began) / 60) < minutes:
            seen.append((now, sampled(page).rss))
            time.sleep(min(10.0, 60 * minutes / 40))
        assert "running" in edge.says, edge.says
        assert not page.complaints, page.complaints
    minutes_, rss = np.array(seen).T
    return minutes_, rss


def slope(minutes: np.ndarray, rss: np.ndarray) -> tuple[float, float]:
    """MB an hour, and twice its standard error, of a line through the samples."""
    hours = minutes / 60
    (rate, level), spread = np.polyfit(hours, rss, 1), hours - hours.mean()
    rest = rss - rate * hours - level
    return rate, 2 * np.sqrt((rest @ rest) / max(1, len(rss) - 2) / (spread @ spread))


def told(soaked: Soaked) -> str:
    """The table of a soak."""
    first, last = soaked.samples[0], soaked.samples[-1]
    most = max(sample.rss for sample in soaked.samples)
    rows = {
        "moves": f"{soaked.moves:,}",
        "minutes": f"{soaked.minutes:.1f}",
        "moves a second": f"{soaked.moves / soaked.minutes / 60:.1f}",
        "frames drawn, by two pages": f"{soaked.frames:,}",
        "memory after the warm-up, MB": f"{first.rss:.0f}",
        "at the end, MB": f"{last.rss:.0f}",
        "at most between, MB": f"{most:.0f}",
        f"growth, MB (reach: {MOST:g})": f"{soaked.growth:+.1f}",
        "threads left after closing": ", ".join(soaked.left) or "none",
        "widgets left after closing": str(soaked.widgets),
        "errors": str(len(soaked.errors)),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    along = ", ".join(f"{sample.rss:.0f}" for sample in soaked.samples)
    return "\n".join(["| | |", "| --- | ---: |", *lines, "", f"MB along the way: {along}"])


def in_browser(moves: int) -> None:
    """The same widgets under keys in Chromium: memory of the page and of the kernel."""
    from browser.lab import Lab

    lot = random.Random(0)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    with Lab(PYTHONPATH=paths) as lab, lab.open("soak.ipynb", SETUP) as notebook:
        notebook.run_all()
        for scene in SCENES.values():
            notebook.show(f"shown.append({scene}); shown[-1]").settle()
        widgets = [notebook.widget(i) for i in range(len(SCENES))]
        handle = ".widget-slider:not(.labkit-scrubber) .noUi-handle"
        sliders = [(w, w.place.locator(handle).all()) for w in widgets]
        sliders = [(widget, handles) for widget, handles in sliders if handles]
        tools = notebook.page.context.new_cdp_session(notebook.page)

        def memory() -> tuple[float, float]:
            tools.send("HeapProfiler.collectGarbage")
            heap = tools.send("Runtime.getHeapUsage")["usedSize"] / 1e6
            return heap, json.loads(notebook.ask("sample() or ''").splitlines()[0])["rss"]

        seen = []
        for part in range(12):
            for _ in range(moves // 12 // DRAG):
                widget, handles = lot.choice(sliders)
                slider, before = lot.choice(handles), widget.seq
                stood = slider.get_attribute("aria-valuenow")
                slider.focus()
                for _ in range(DRAG):
                    notebook.page.keyboard.press(lot.choice(KEYS))
                if slider.get_attribute("aria-valuenow") != stood:
                    widget.wait_until(lambda w=widget, b=before: w.seq > b, "a picture")
                if lot.random() < 0.3:
                    widget.press(lot.choice(["play", "step", "reset"]))
            if part:
                seen.append(memory())
        assert not notebook.complaints(), notebook.complaints()
        assert not notebook.errors, notebook.errors
    heap, rss = zip(*seen, strict=True)
    print(f"\n{moves:,} keys in Chromium; after the first twelfth, and along the way:")
    print(f"the page's heap, MB: {', '.join(f'{value:.0f}' for value in heap)}")
    print(f"the kernel, MB: {', '.join(f'{value:.0f}' for value in rss)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=1e9, help="at most so long")
    parser.add_argument("--run-minutes", type=float, help="leave a run alone so long, instead")
    parser.add_argument("--browser", action="store_true", help="in Chromium, instead")
    options = parser.parse_args()
    print(machine())
    if options.run_minutes:
        minutes, rss = left_running(options.run_minutes)
        warm = minutes > options.run_minutes / 5
        rate, about = slope(minutes[warm], rss[warm])
        print(f"\n{options.run_minutes:g} minutes of a run left alone, MB along the way:")
        print(", ".join(f"{value:.1f}" for value in rss))
        print(f"without the first fifth: {rate:+.0f} +- {about:.0f} MB an hour, if it went on so")
    elif options.browser:
        in_browser(options.moves)
    else:
        soaked = soak(options.moves, options.minutes)
        print(f"\n{told(soaked)}")
        for error in soaked.errors:
            print(error)
        sys.exit(bool(soaked.errors or soaked.left or soaked.widgets or soaked.growth > MOST))


if __name__ == "__main__":
    main()
