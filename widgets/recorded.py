"""A figure that was recorded: frames to walk through on a page without a kernel.

A recording holds each frame in both themes and in a few widths.  Structures, numbers and texts
stand in it once, however many frames show them, and an array that a later one begins with is a
part of that: a run looked back at costs little more than its last frame.  In the page recorded.js
answers in the kernel's place, and the page draws as it does in the lab.
"""

import base64
import html
import itertools
import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from labkit.render import Still, look
from labkit.render.plotly import CONFIG, spec, structure_key
from widgets.camera import Frame, Reel
from widgets.live_view import known, packed
from widgets.page import DRAWING, RECORDED, plotly_js


WIDTHS = (340.0, 640.0, 960.0)  # of the layouts with one, two and three panels in a row
MOST_BYTES = 2_000_000  # of numbers and texts in one recording; with more, half the frames go

# What a page needs beside plotly.js: once, however many figures it holds.
SCRIPT = f"""(() => {{
{DRAWING}
{RECORDED}
}})();
"""
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 1080px; margin: 0 auto; padding: 8px; font-family: {font};
  color: {light.ink}; background: {light.background}; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: {dark.ink}; background: {dark.background}; }}
}}
</style>
<body>
{fragment}
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def bundle(reel: Reel, about: str = "") -> tuple[dict[str, str], dict]:
    """What a notebook's output holds: the recording, a still picture, the sentence."""
    shown = reel.frames[reel.start]
    data, metadata = Still(shown.panels)._repr_mimebundle_()
    page = fragment(reel, about, data["image/png"])
    return {**data, "text/html": page, "text/plain": shown.words}, metadata


def page(reel: Reel, path: str | Path, about: str = "") -> Path:
    """Write a page that needs nothing else, plotly.js included; returns its path."""
    path, panels = Path(path), reel.frames[reel.start].panels
    themes = {name: look.theme_of(name) for name in ("light", "dark")}
    text = PAGE.format(
        title=html.escape("; ".join(filter(None, (panel.title for panel in panels)))) or "labkit",
        font=look.FONT,
        fragment=fragment(reel, about),
        plotly=plotly_js().decode(),
        script=SCRIPT,
        **themes,
    )
    path.write_text(text, encoding="utf-8")
    return path


def fragment(reel: Reel, about: str = "", png: str = "") -> str:
    """The recording as a piece of a page that holds `SCRIPT`; without it, a still picture."""
    shown = reel.frames[reel.start]
    png = png or base64.b64encode(Still(shown.panels).png()[0]).decode()
    # Inside a script nothing is read but its end.
    data = json.dumps(recording(reel), separators=(",", ":"), allow_nan=False)
    data = data.replace("</", "<\\/")
    return (
        '<div class="labkit-recorded">'
        f'<div class="labkit-still"><img alt="" style="max-width: 100%" '
        f'src="data:image/png;base64,{png}"><p>{html.escape(shown.words)}</p></div>'
        f'<script type="application/json">{data}</script>'
        + (f'<p class="labkit-about"><small>{html.escape(about)}</small></p>' if about else "")
        + "</div>"
    )


def recording(reel: Reel) -> dict[str, Any]:
    """The frames as recorded.js reads them."""
    frames, start = reel
    while True:
        kept = _Shelf()
        looks = [
            {"theme": theme, "width": width, "frames": _frames(frames, theme, width, kept)}
            for theme in ("light", "dark")
            for width in WIDTHS[: max(2, min(len(frames[0].panels), 3))]
        ]
        if kept.bytes <= MOST_BYTES or len(frames) < 8:
            break
        shown, frames = frames[start], frames[::2]
        start = min(start // 2, len(frames) - 1)
        frames[start] = shown
    return {
        "labels": [frame.label for frame in frames],
        "words": [frame.words for frame in frames],
        "label": spec(frames[start].panels).label,
        "start": start,
        "looks": looks,
        "structures": kept.structures,
        "texts": kept.texts,
        "buffers": [base64.b64encode(data).decode() for data in kept.buffers],
    }


class _Shelf:
    """Where each structure, text and array stands once."""

    def __init__(self):
        self.structures: list[dict] = []
        self.texts: list[Any] = []
        self.buffers: list[bytes] = []
        self.bytes = 0
        self._places: dict[Hashable, int] = {}

    def structure(self, key: str, made: dict) -> int:
        return self._put(self.structures, key, made)

    def text(self, value: Any) -> int:
        key = json.dumps(value)
        return self._put(self.texts, key, value, len(key))

    def buffer(self, data: bytes, later: int | None) -> int:
        """`later` is where the same array of the next frame stands."""
        if later is not None and self.buffers[later].startswith(data):
            return later
        return self._put(self.buffers, data, data, len(data))

    def _put(self, shelf: list, key: Hashable, value: Any, size: int = 0) -> int:
        key = (id(shelf), key)
        if key not in self._places:
            self._places[key] = len(shelf)
            self.bytes += size
            shelf.append(value)
        return self._places[key]


def _frames(frames: Sequence[Frame], theme: str, width: float, shelf: _Shelf) -> list[dict]:
    """Each frame as what differs from the one before; the structure only where that changes."""
    whole, later = [], {}
    for frame in reversed(frames):
        made = spec(frame.panels, theme, width)
        structure = {"data": made.data, "layout": made.layout, "config": CONFIG, "edits": []}
        arrays = {}
        for (trace, attribute), values in made.arrays.items():
            shape, data = packed(values)
            name = f"{trace} {attribute}"
            arrays[name] = [shelf.buffer(data, later.get(name)), *shape]
        later = {name: place for name, (place, *_) in arrays.items()}
        texts = {path: shelf.text(known(value)) for path, value in made.texts.items()}
        place = shelf.structure(structure_key(made), structure)
        whole.append({"structure": place, "arrays": arrays, "texts": texts})
    whole.reverse()
    return [whole[0], *(_since(old, new) for old, new in itertools.pairwise(whole))]


def _since(old: dict, new: dict) -> dict:
    same = all(old[kind].keys() == new[kind].keys() for kind in ("arrays", "texts"))
    if not same or old["structure"] != new["structure"]:
        return new
    return {
        kind: {name: at for name, at in new[kind].items() if old[kind][name] != at}
        for kind in ("arrays", "texts")
    }
