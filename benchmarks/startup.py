"""From the command that opens the lab to the first live picture, warm and cold.

    .venv/bin/python benchmarks/startup.py

What `make lab` does once everything is installed: JupyterLab starts, a browser (which is
running already) opens the start notebook, its cells are run, and the first Explorer has drawn
its first rows.  Warm: compiled programs are found on disk; cold: none is.  Our own share is
what the cells up to that Explorer take in the kernel, of which `import jax` is said apart.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from side_by_side import ROOT, machine


sys.path.insert(0, str(ROOT / "tests"))  # where the browser is driven from
from browser.lab import Lab


ROUNDS = 4  # of warm and cold in turn; the first fills the disk's cache and does not count

CLOCK = """
import threading, time
from IPython import get_ipython
clock = [("began", time.perf_counter())]
def note(name):
    clock.append((name, time.perf_counter()))
def watch(explorer):
    while len(explorer.record) == 0 or explorer.player.playing:
        time.sleep(0.005)
    note("first rows")
import jax, jax.numpy
note("import jax")
"""
REACH = {"total": 15.0, "ours": 3.0, "cold adds": 10.0}


def cells() -> list[str]:
    """The start notebook up to its first Explorer, with a clock between the cells."""
    source = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    made = [CLOCK]
    for cell in source.cells:
        if cell.cell_type != "code":
            continue
        if "Explorer(" in cell.source and "import" not in cell.source:
            shown = "note('import ours')\nshown = " + cell.source
            rest = "note('build')\nthreading.Thread(target=watch, args=[shown]).start()\nshown"
            return [*made, f"{shown}\n{rest}"]
        made.append(cell.source)
    raise ValueError("the start notebook shows no Explorer")


def once(cache: str) -> dict[str, float]:
    """The seconds of each part of one start."""
    with Lab(JAX_COMPILATION_CACHE_DIR=cache) as lab:
        began = time.perf_counter()
        with lab.open("start.ipynb", *cells()) as notebook:
            opened = time.perf_counter()
            notebook.run_all()
            widget = notebook.widget()
            widget.wait_until(lambda: widget.words.startswith("Step"), "it shows its first rows")
            drawn = time.perf_counter()
            while "first rows" not in (clock := dict(eval(notebook.ask("clock")))):
                time.sleep(0.05)
    seen = {"server": lab.seconds_to_serve, "page and kernel": opened - began}
    last = clock["began"]
    for name in ("import jax", "import ours", "build", "first rows"):
        seen[name], last = clock[name] - last, clock[name]
    seen["ours"] = clock["first rows"] - clock["began"]
    seen["total"] = lab.seconds_to_serve + drawn - began
    return seen


def main() -> None:
    rounds: dict[str, list[dict[str, float]]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as home:
        for round_ in range(ROUNDS):
            for kind, seen in rounds.items():
                cache = Path(home) / (kind if kind == "warm" else f"{kind}-{round_}")
                started = once(str(cache))
                if round_:
                    seen.append(started)
    print(f"\n{machine()}")
    print("\n| seconds | warm | least to most | cold | least to most | reach |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    middle = {}
    for name in rounds["warm"][0]:
        row = [name]
        for kind, seen in rounds.items():
            values = [each[name] for each in seen]
            middle[kind, name] = statistics.median(values)
            row += [f"{middle[kind, name]:.1f}", f"{min(values):.1f} to {max(values):.1f}"]
        reach = f"warm {REACH[name]:g}" if name in REACH else ""
        print(f"| {' | '.join(row)} | {reach} |")
    added = middle["cold", "total"] - middle["warm", "total"]
    print(f"\nA cold cache adds {added:.1f} s (reach: {REACH['cold adds']:g} s)")


if __name__ == "__main__":
    main()
