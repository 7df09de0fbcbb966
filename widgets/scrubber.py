"""A slider over the rows of a run: what it had seen by then."""

import time
from collections.abc import Callable
from typing import Any

import ipywidgets

from labkit.record import Record


ECHO = 1.5  # seconds within which a page may still report where the slider stood before


class Scrubber:
    """Calls `look()` when a person moves it; `seen(record)` is what there was by the chosen row.

    It stands at the newest row, and leaves a run alone, until it is moved; `release` lets it
    follow again.
    """

    def __init__(self, look: Callable[[], None]):
        self._look, self._quiet = look, False
        self._left, self._moved_at = -1, 0.0  # where the slider stood before it followed, and when
        self.held = False  # at a row that a person chose
        self.slider = ipywidgets.IntSlider(
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
        if self.slider.value != last:
            self._left, self._moved_at = self.slider.value, time.monotonic()
        self._stand(last)

    def _stand(self, last: int) -> None:
        self._quiet = True
        try:
            with self.slider.hold_sync():
                self.slider.max = last
                self.slider.value, self.slider.disabled = last, last == 0
        finally:
            self._quiet = False

    def release(self) -> None:
        """Let go of the chosen row."""
        self.held = False

    def _moved(self, change: Any) -> None:
        if self._quiet:
            return
        if change["new"] == self._left and time.monotonic() - self._moved_at < ECHO:
            self._left = -1  # once: a hand that insists is heard
            self._stand(self.slider.max)
        else:
            self.held = change["new"] < self.slider.max
            self._look()
