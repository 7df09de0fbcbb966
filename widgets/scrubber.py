"""A slider over the rows of a run: what it had seen by then."""

import threading
from collections.abc import Callable
from typing import Any

from labkit.record import Record
from widgets.sliders import RowSlider


class Scrubber:
    """Calls `look()` when a person moves it; `seen(record)` is what there was by the chosen row.

    It stands at the newest row, and leaves a run alone, until it is moved; `release` lets it
    follow again.
    """

    def __init__(self, look: Callable[[], None]):
        self._look = look
        self._own = 0  # the thread that moves the slider and is no hand
        self.held = False  # at a row that a person chose
        self.slider = RowSlider(
            0,
            0,
            0,
            description="look back",
            disabled=True,
            readout=False,
            tooltip="a row seen before",
        )
        self.slider.add_class("labkit-scrubber")
        self.slider.observe(self._moved, "value")

    def seen(self, record: Record) -> Record:
        """The record as it was at the chosen row."""
        row = self.slider.value
        return record.until(int(record.steps[row])) if self.held and row < len(record) else record

    def follow(self, record: Record) -> None:
        """Reach over all rows of a run that rests, and stand at the newest one."""
        last = len(record) - 1
        if self.held or last < 0 or self.slider.value == self.slider.max == last:
            return
        self._own = threading.get_ident()
        try:
            with self.slider.hold_sync():
                self.slider.max = last
                self.slider.value, self.slider.disabled = last, last == 0
        finally:
            self._own = 0

    def release(self) -> None:
        """Let go of the chosen row."""
        self.held = False

    def _moved(self, change: Any) -> None:
        if self._own == threading.get_ident():
            return
        self.held = change["new"] < self.slider.max
        self._look()
