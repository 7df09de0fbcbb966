"""The picture of the README: the explorer at the edge of stability, in the real lab.

    .venv/bin/python docs/picture.py

Needs Chromium, as the browser tests do.
"""

import sys
from pathlib import Path


HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # where the browser is driven from
from browser.lab import Lab  # noqa: E402


EXPLORER = """
from labkit.dynamics import edge_of_stability
from widgets import Explorer
Explorer(edge_of_stability.example(), edge_of_stability.views, say=edge_of_stability.say, every=2)
"""


def main() -> None:
    """Play 400 steps, turn the learning rate up, and take a picture 200 steps later."""
    with Lab() as lab, lab.open("picture.ipynb", EXPLORER) as notebook:
        notebook.run_all()
        widget = notebook.widget()
        step = lambda: widget.curve("threshold")[0][-1]
        widget.press("play")
        widget.wait_until(lambda: step() >= 400, "400 steps")
        widget.key("lr", "ArrowRight", times=12)
        widget.wait_until(lambda: step() >= 640, "200 steps more")
        widget.press("play")  # which is Stop now
        widget.settle()
        path = HERE / "edge_of_stability.png"
        widget.place.screenshot(path=str(path))
        print(path)


if __name__ == "__main__":
    main()
