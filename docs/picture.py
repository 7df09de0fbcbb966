"""Make docs/edge_of_stability.png: the Explorer of the lesson, running in the real lab.

.venv/bin/python docs/picture.py
"""

import sys
from pathlib import Path


HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # where the browser is driven from
from browser.lab import Lab  # noqa: E402


CELL = """
from labkit.dynamics import edge_of_stability
from widgets import Explorer
Explorer(
    edge_of_stability.example(), edge_of_stability.views, say=edge_of_stability.say,
    every=2, pace=30,
)
"""


def main() -> None:
    with Lab() as lab, lab.open("picture.ipynb", CELL, width=1280) as notebook:
        notebook.page.set_viewport_size({"width": 1280, "height": 1100})
        notebook.command("application:toggle-left-area")
        notebook.run_all()
        widget = notebook.widget()
        widget.settle()
        widget.press("play")
        steps = lambda: widget.curve("threshold")[0][-1]
        widget.wait_until(lambda: steps() >= 400, "400 steps")
        widget.place.evaluate("el => { el.style.background = '#fff'; el.scrollIntoView(); }")
        widget.place.screenshot(path=HERE / "edge_of_stability.png")


if __name__ == "__main__":
    main()
