"""The run before this one, in grey behind it."""

import time
from collections.abc import Sequence
from itertools import chain, repeat

import ipywidgets
import numpy as np

from labkit.record import Record
from labkit.render.look import GHOST
from labkit.views import Curve, Panel, View


GESTURE = 1.0  # seconds between two turns that still belong to one move of a hand
NOTHING = np.full((2, 1), np.nan)  # a curve that shows nothing


class Ghost:
    """Keeps what a run left behind when another took its place, while its button is pressed.

    A hand that drags a slider begins many runs: what stays is the one from before it.  Only
    curves have a ghost; what is drawn as a field would hide the present one.
    """

    def __init__(self, views: Sequence[View]):
        self._views = views
        self._former: Record | None = None
        self._panels: list[Panel] | None = None  # of the former run, once drawn
        self._turned = -GESTURE
        self.button = ipywidgets.ToggleButton(
            True,
            description="Ghost",
            icon="clone",
            tooltip="show the run before this one, in grey",
            layout={"width": "6em"},
        )
        self.button.add_class("labkit-ghost")

    def leave(self, record: Record, worth: bool) -> None:
        """Another run begins; `worth` says whether this one had shown more than its first rows."""
        now = time.monotonic()
        gesture, self._turned = now - self._turned < GESTURE, now
        if worth and not gesture:
            diverged = any("diverged" in event.sentence for event in record.events)
            # Beside a run that left all bounds the next would be a flat line.
            self._former, self._panels = None if diverged else record, None

    def behind(self, panels: Sequence[Panel]) -> list[Panel]:
        """The panels with the curves of the former run behind their marks."""
        if not self.button.value:
            return list(panels)
        if self._panels is None and self._former is not None:
            self._panels = [view(self._former) for view in self._views]
        former = self._panels or [Panel("", [])] * len(panels)
        return [_over(panel, ghost) for panel, ghost in zip(panels, former, strict=True)]


def _over(panel: Panel, former: Panel) -> Panel:
    """As many grey curves as the panel has, so that the first ghost changes no structure."""
    left = [mark[:2] for mark in former.marks if isinstance(mark, Curve)]
    curves = [mark for mark in panel.marks if isinstance(mark, Curve)]
    grey = [
        Curve(x, y, role=GHOST + (mark.role or mark.label))
        for mark, (x, y) in zip(curves, chain(left, repeat(NOTHING)), strict=False)
    ]
    first = next((i for i, mark in enumerate(panel.marks) if isinstance(mark, Curve)), 0)
    return panel._replace(marks=[*panel.marks[:first], *grey, *panel.marks[first:]])
