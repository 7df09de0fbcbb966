"""From a key on a slider to the changed picture, in the real lab and a real browser.

    .venv/bin/python benchmarks/live_latency.py

The clock is the page's own: from the keydown on the slider's handle until the figure says
that it is drawn (`data-seq` changes: after plotly's draw, at the animation frame that shows
it), and, beside that, until one frame later, when it has surely been painted.  A move waits
until the picture has been at rest.
"""

import statistics
import sys
from collections.abc import Sequence

from side_by_side import ROOT, machine


sys.path.insert(0, str(ROOT / "tests"))  # where the browser is driven from
from browser.lab import Lab, Notebook, Widget


ROUNDS = 3  # of all scenes in turn, so that noise falls on all alike
MOVES = 20  # a round

SETUP = """
import jax.numpy as jnp
from labkit import knob, pytree, sweep
from labkit.dynamics import edge_of_stability
from labkit.landscapes.surface_descent import SurfaceDescent, views as surface_views
from labkit.method import Latest
from labkit.problems import EdgeToy, Surface
from labkit.relaxations import soft_sort
from labkit.rules import Sgd
from labkit.views import Panel, Raster
from widgets import Explorer

@pytree
class Sorted:
    moved: float = knob(2.2, -1.0, 6.0)

    def __call__(self, tau):
        values = jnp.stack([3.0, 1.0, self.moved, 0.0, 4.5])
        return {"sorted": soft_sort.soft_sort(values, tau)}

@pytree
class Field:
    tilt: float = knob(0.0, -20.0, 20.0)

    def __call__(self, cells):
        u = jnp.linspace(-5.0, 5.0, 64)
        at = jnp.stack(jnp.meshgrid(u, u))
        z = Surface("himmelblau").loss(at) + self.tilt * at[0]
        return {"z": Latest(jnp.log10(1.0 + z - z.min())), "u": Latest(u)}

def field(record):
    u = record.last("u")
    return Panel("Field", [Raster(record.last("z"), u, u, "log10(1 + L)")], "u", "v")
"""
# name: (cell, label of the slider, reach of the median, reach of p95), in ms
SCENES = {
    "lines: a sweep, 5 curves x 200": (
        "lines = Explorer(sweep(Sorted(), jnp.logspace(-2, 1, 200), 'tau'),"
        " soft_sort.views[1:2]); lines",
        "moved",
        80,
        130,
    ),
    "heat map 64 x 64": (
        "heat = Explorer(sweep(Field(), jnp.zeros(1)), [field]); heat",
        "tilt",
        80,
        130,
    ),
    "first frame of a run that starts again": (
        "again = Explorer(SurfaceDescent(EdgeToy(), Sgd(0.2)), surface_views, steps=12); again",
        "c",
        200,
        None,
    ),
}
STOP = """
edge = Explorer(edge_of_stability.example(), edge_of_stability.views, every=2, pace=None)
edge
"""

MOVE = """async ([[handle, view], key]) => {
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
  for (let last = null; last !== view.dataset.seq; await pause(200)) last = view.dataset.seq;
  const moved = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no new picture within 10 s')), 10000);
    const seen = new MutationObserver(() => {
      seen.disconnect();
      const drawn = performance.now();
      requestAnimationFrame(() => resolve([drawn, performance.now()]));
    });
    seen.observe(view, {attributeFilter: ['data-seq']});
  });
  handle.focus();
  const began = performance.now();
  handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  return (await moved).map(time => time - began);
}"""
# Stopped: the widget says so, and no later frame comes.
HALT = """([button, status, view]) => new Promise(resolve => {
  let last = NaN;
  const note = () => { last = performance.now() - began; };
  const seen = new MutationObserver(note);
  seen.observe(view, {attributeFilter: ['data-seq']});
  seen.observe(status, {childList: true, subtree: true, characterData: true});
  const began = performance.now();
  button.click();
  setTimeout(() => { seen.disconnect(); resolve(last); }, 800);
})"""


def moves(notebook: Notebook, widget: Widget, label: str) -> list[list[float]]:
    """Milliseconds of each move until it is drawn and a frame later: to the right, and back."""
    ends = [widget.handle(label).element_handle(), widget.view.element_handle()]
    seen = []
    for move in range(MOVES):
        key = "ArrowRight" if move < MOVES // 2 else "ArrowLeft"
        seen.append(notebook.page.evaluate(MOVE, [ends, key]))
    return seen


def stops(notebook: Notebook, widget: Widget) -> float:
    """Milliseconds from a click on Stop until all is still."""
    widget.press("play")
    before = widget.seq
    widget.wait_until(lambda: widget.seq > before + 10, "it plays")
    places = [widget.place.locator(".labkit-play"), widget.place.locator(".labkit-status")]
    ends = [place.element_handle() for place in (*places, widget.view)]
    took = notebook.page.evaluate(HALT, ends)
    assert widget.status == "stopped"
    return took


def main() -> None:
    seen: dict[str, list[list[float]]] = {name: [] for name in SCENES}
    halts = []
    with Lab() as lab, lab.open("latency.ipynb", SETUP) as notebook:
        notebook.run_all()
        shown = {name: notebook.show(cell) for name, (cell, *_) in SCENES.items()}
        shown = {name: notebook.widget(i) for i, name in enumerate(shown)}
        edge = notebook.show(STOP)
        for widget in (*shown.values(), edge):
            widget.settle()
        for round_ in range(ROUNDS + 1):
            for name, (_, label, *_) in SCENES.items():
                shown[name].place.scroll_into_view_if_needed()
                took = moves(notebook, shown[name], label)
                seen[name] += took if round_ else []  # the first round warms up
            edge.place.scroll_into_view_if_needed()
            took = [stops(notebook, edge) for _ in range(7)]
            halts += took if round_ else []
        assert not notebook.complaints()
    print(f"\n{machine()}")
    print("\n| | median ms | reach | p95 ms | reach | a frame later: median, p95 | of |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, (_, _, median, p95) in SCENES.items():
        drawn, later = zip(*seen[name], strict=True)
        print(row(name, drawn, median, p95, "{:.0f}, {:.0f}".format(*spread(later))))
    print(row("a click on Stop: until all is still", halts, 300, None, ""))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return statistics.median(values), sorted(values)[int(0.95 * (len(values) - 1))]


def row(name: str, values: Sequence[float], median: float, p95: float | None, later: str) -> str:
    """A line of the table."""
    middle, high = spread(values)
    return (
        f"| {name} | {middle:.0f} | {median} | {high:.0f} | {p95 or ''} | {later} | {len(values)} |"
    )


if __name__ == "__main__":
    main()
