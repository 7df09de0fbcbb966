"""Sliders that a page shows as the kernel sets them.

A page takes the parts of a message one after another.  A value that came before its range would
be cut to the old range, and reported as if a hand had put it there; which part comes first is
otherwise chance.
"""

from typing import Any

import ipywidgets


class _RangeFirst(ipywidgets.Widget):
    def send_state(self, key: Any = None) -> None:
        """Send the state, or the named parts of it; the value last."""
        if key is not None and not isinstance(key, str):
            key = sorted(key, key=lambda name: (name == "value", name))
        super().send_state(key)


class Slider(_RangeFirst, ipywidgets.FloatSlider):
    """For a number."""


class LogSlider(_RangeFirst, ipywidgets.FloatLogSlider):
    """For a positive number, by its logarithm."""


class RowSlider(_RangeFirst, ipywidgets.IntSlider):
    """For one of the rows of a record."""
