"""The live figure: the structure once, then only the numbers that changed.

One plotly.js serves a page.  The kernel's first view carries it, and every view carries its
first frame, as traits at creation: a figure that has to ask for either waits for the running
cell.  The page blanks both after use, so that a saved notebook holds neither.  Later frames
are float32 buffers with a sequence number, which the page acknowledges once it has drawn them.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import anywidget
import ipywidgets
import numpy as np
import traitlets

from labkit.render.plotly import CONFIG, Spec, structure_key
from widgets.gestures import Edit
from widgets.page import DRAWING, plotly_js


IN_FLIGHT = 2  # frames not yet drawn; more would queue up ahead of a click on Stop
SILENCE = 0.5  # seconds without an acknowledgement after which there may be no page
PULSE = 1.0  # seconds between frames that nobody acknowledges, at first
DOUBLINGS = 6  # of that, one a frame: JupyterLab's server keeps all that a page has missed

_views = itertools.count()  # the kernel's first view, number 0, brings plotly.js


class LiveView(anywidget.AnyWidget):
    """A figure that is pushed to, from any thread, and says when it has drawn.

    `theme` ("light" or "dark") and `width` (in pixels, 0 until it is known) are reported by
    the page: observe them and push a spec made anew.
    """

    # As text: a path would be watched by a signal that keeps every view for ever.
    _esm = DRAWING + "export default liveView;\n"
    boot = traitlets.Bytes().tag(sync=True)  # plotly.js, on its way to the page
    first = traitlets.Dict().tag(sync=True)  # the first frame, on its way to the page
    # Not synchronized: a page holds such changes back until its last one is answered.
    theme = traitlets.Enum(["light", "dark"])
    width = traitlets.Int(0)
    page_theme: ClassVar[str] = "light"  # as last reported: what a new view may be drawn in

    def __init__(self, spec: Spec, words: str = ""):
        self._lock = threading.RLock()
        self._seq, self._acked, self._over = 1, 0, False
        self._progress: float | None = None
        self._heard = self._pushed = time.monotonic()
        self._served: dict[str, float] = {}
        self._edits: list[Callable[[Edit], None]] = []
        self._keep(spec, words)
        head, buffers = self._whole()
        boot = plotly_js() if next(_views) == 0 else b""
        first = {"head": head, "buffers": buffers}
        super().__init__(boot=boot, first=first, theme=LiveView.page_theme)
        self.on_msg(self._receive)
        hear_at_once(self)

    def push(self, spec: Spec, words: str = "") -> int:
        """Show this from now on; returns the frame's number.  Nothing after `close`."""
        with self._lock:
            if self._over:
                return self._seq
            key, arrays, texts = self._key, self._arrays, self._texts
            now = time.monotonic()
            # When nobody answers, all of it: a page that comes late needs nothing else then.
            whole = self.in_flight >= IN_FLIGHT and now - self._heard > SILENCE
            self._keep(spec, words)
            self._seq, self._pushed = self._seq + 1, now
            same = self._key == key and self._arrays.keys() == arrays.keys()
            if whole or not same or self._texts.keys() != texts.keys():
                self.send(*self._whole())
            else:
                fresh = _changed(self._arrays, arrays), _changed(self._texts, texts)
                self.send(*self._frame(*fresh))
            return self._seq

    @property
    def in_flight(self) -> int:
        """How many frames no page has drawn yet.

        The quickest page counts: a slower one skips to the newest frame by itself.
        """
        return self._seq - self._acked

    def ready(self) -> bool:
        """Whether another frame may be sent now; without a page, ever more rarely."""
        with self._lock:
            now, over = time.monotonic(), self.in_flight - IN_FLIGHT
            pulse = PULSE * 2 ** min(max(over, 0), DOUBLINGS)
            silent = now - self._heard >= SILENCE and now - self._pushed >= pulse
            return over < 0 or silent

    def say_progress(self, share: float | None) -> None:
        """Show how much of the run is done (-1: nobody can say; None: nothing is under way)."""
        coarse = None if share is None else round(share, 2)
        with self._lock:
            if coarse != self._progress and not self._over:
                self._progress = coarse
                self.send({"kind": "progress", "share": coarse})

    def copy(self, text: str) -> None:
        """Put a text on the clipboard of the page that a person is at, if its browser lets us."""
        self.send({"kind": "copy", "text": text})

    def on_edit(self, callback: Callable[[Edit], None]) -> None:
        """Call this with what a hand does to the figure, while it does it."""
        self._edits.append(callback)

    def close(self) -> None:
        """Take the figure off every page."""
        with self._lock:
            over, self._over, layout = self._over, True, self.layout
            self._edits.clear()
        if not over:
            super().close()
            layout.close()  # ipywidgets would keep it for the life of the kernel

    def _keep(self, spec: Spec, words: str) -> None:
        self._key, self._words, self._label = structure_key(spec), words, spec.label
        self._structure = {"data": spec.data, "layout": spec.layout, "edits": spec.edits}
        # As bytes: a copy, what is sent, and equal where both have NaN.
        self._arrays = {name: packed(values) for name, values in spec.arrays.items()}
        self._texts = {path: known(value) for path, value in spec.texts.items()}

    def _frame(self, arrays: dict, texts: dict, **more: Any) -> tuple[dict, list[bytes]]:
        listed = [[trace, attribute, shape] for (trace, attribute), (shape, _) in arrays.items()]
        head = {"kind": "frame", "seq": self._seq, "words": self._words, "label": self._label}
        head |= {"arrays": listed, "texts": texts, "progress": self._progress}
        return head | more, [data for _, data in arrays.values()]

    def _whole(self, page: str = "") -> tuple[dict, list[bytes]]:
        structure = self._structure | {"config": CONFIG}
        return self._frame(self._arrays, self._texts, structure=structure, to=page)

    def _receive(self, _: Any, content: dict, __: list) -> None:
        kind, page = content.get("kind"), content.get("page", "")
        if kind == "hello":
            with self._lock:  # a page that has just come or has lost a frame
                if content["seq"] != self._seq and not self._over:
                    self.send(*self._whole(page))
            self.boot, self.first = b"", {}  # arrived; the next page will ask
        elif kind == "drawn":
            with self._lock:
                self._acked, self._heard = max(self._acked, content["seq"]), time.monotonic()
        elif kind == "library":
            self._serve(page)
        elif kind == "look":
            LiveView.page_theme = content["theme"]
            # A page says its theme before it has a width.  That may be heard last: before a page
            # has a subshell, what it says waits for the running cell.
            self.theme, self.width = content["theme"], int(content["width"]) or self.width
        elif kind == "edit":
            at, to = map(int, content["at"]), map(float, content["to"])
            edit = Edit(content["gesture"], content["field"], tuple(at), tuple(to))
            for callback in list(self._edits):
                callback(edit)

    def _serve(self, page: str) -> None:
        # A page asks again while a cell is busy, and all its questions arrive together.
        with self._lock:
            now, last = time.monotonic(), self._served.get(page, -60.0)
            if now - last > 10 and not self._over:
                self._served[page] = now
                self.send({"kind": "library", "to": page}, [plotly_js()])


def hear_at_once(*widgets: ipywidgets.Widget) -> None:
    """Hear these widgets also while a cell is running.

    JupyterLab sends what a person does to a thread of its own in the kernel, a subshell.
    ipykernel 7.4 hands it on to whoever wrote to that widget last, and that is the cell which
    made it: a click on Stop would wait for the cell's end.  This leaves it where it was sent.
    """
    for widget in widgets:
        if hasattr(widget.comm, "_reply_subshell_for"):
            widget.comm._reply_subshell_for = lambda _, addressed: addressed


def packed(values: np.ndarray) -> tuple[list[int], bytes]:
    """The shape of an array and its numbers as a page reads them."""
    return list(values.shape), np.ascontiguousarray(values, "<f4").tobytes()


def known(value: Any) -> Any:
    """JSON has no NaN: plotly finds out by itself what is None, such as the end of an axis."""
    if isinstance(value, list):
        return [known(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _changed(new: dict, old: dict) -> dict:
    return {name: value for name, value in new.items() if old.get(name) != value}
