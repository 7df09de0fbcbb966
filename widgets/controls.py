"""Controls for the fields of a method: sliders, steppers, dropdowns, made from the fields."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import numpy as np

from labkit.method import Field
from labkit.run import plain_value
from widgets.sliders import LogSlider, Slider


Turn = Callable[[Mapping[str, Any]], None]

MOST_BOXES = 8  # numbers of an array that get a box each; longer ones are only dragged
TICKS = 200  # of a slider: where an arrow key takes it
SLIDERS = (Slider, LogSlider)
LABEL = 7.0, 12.0  # em beside the controls of a method: at least, and at most
LETTER = 0.6  # em
REST = 16.0  # em of a control beside its label


class Controls:
    """A control for each field, which calls `turn({name: value})` when a person moves it."""

    def __init__(self, fields: Mapping[str, Field], turn: Turn):
        labels = [field.label for field in fields.values()]
        shown = {n: f.label if labels.count(f.label) == 1 else n for n, f in fields.items()}
        longest = max(map(len, shown.values()), default=0)
        room = float(np.clip(LETTER * longest, *LABEL))
        self._turn, self._quiet = turn, False
        self._known = {name: field.value for name, field in fields.items()}
        self.widgets: dict[str, ipywidgets.Widget] = {}
        # What a class turns comes first: live knobs, other knobs, and last what is compiled in.
        order = lambda item: (item[1].kind != "knob", not item[1].live)
        for name, field in sorted(fields.items(), key=order):
            made = _make(field, shown[name], room)
            if made is not None:
                self.widgets[name] = made
                for box in _boxes(made):
                    box.observe(self._listener(name), "value")

    def boxes(self) -> list[ipywidgets.Widget]:
        """Every widget that a person can move."""
        return [box for made in self.widgets.values() for box in _boxes(made)]

    def show(self, fields: Mapping[str, Field]) -> None:
        """Set the controls to these values, as if nobody had moved them."""
        self._quiet = True
        try:
            for name, made in self.widgets.items():
                self._known[name] = fields[name].value
                values = np.ravel(plain_value(fields[name].value)).tolist()
                for box, value in zip(_boxes(made), values, strict=True):
                    with box.hold_sync():  # the page would answer to each half of it
                        _fit(box, value)
                        box.value = value
        finally:
            self._quiet = False

    def _listener(self, name: str) -> Callable:
        def moved(change: Any) -> None:
            if self._quiet:
                return
            made = self.widgets[name]
            if isinstance(made, SLIDERS) and _echoes(made, change["new"], self._known[name]):
                return
            if isinstance(made, ipywidgets.HBox):
                values = np.array([box.value for box in _boxes(made)], float)
                self._turn({name: values.reshape(np.shape(self._known[name]))})
            else:
                self._turn({name: change["new"]})

        return moved


def _make(field: Field, label: str, room: float) -> ipywidgets.Widget | None:
    """A control with `room` em for its label."""
    about = f"{field.about} ({field.name})" if field.about else field.name
    style, layout = {"description_width": f"{room:g}em"}, {"width": f"{room + REST:g}em"}
    common = {"description": label, "tooltip": about, "style": style, "layout": layout}
    if field.kind == "choice":
        return ipywidgets.Dropdown(options=field.options, value=field.value, **common)
    if field.kind == "size":
        high = max(int(field.high), field.value)
        bounds = {"min": int(field.low), "max": high}
        return ipywidgets.BoundedIntText(field.value, **bounds, **common)
    if np.ndim(field.value):
        return _row(field, label, room)
    value = float(field.value)
    low, high = min(field.low, value), max(field.high, value)
    if field.log:
        shown = ".3g" if low >= 1e-4 else ".2e"  # 0.00000100 would not fit beside its slider
        low, high, at = math.log10(low), math.log10(high), math.log10(value)
        ticks = {"min": low, "max": high, "step": _step(low, high, at), "readout_format": shown}
        return LogSlider(value, base=10, **ticks, **common)
    ticks = {"min": low, "max": high, "step": _step(low, high, value), "readout_format": ".3g"}
    return Slider(value, **ticks, **common)


def _row(field: Field, label: str, room: float) -> ipywidgets.Widget | None:
    values = np.ravel(plain_value(field.value))
    if len(values) > MOST_BOXES:
        return None
    step = (field.high - field.low) / 50
    boxes = [
        ipywidgets.FloatText(
            value,
            step=float(f"{step:.1g}"),
            description=label if index == 0 else "",
            tooltip=f"{field.name}[{index}]",
            style={"description_width": f"{room:g}em" if index == 0 else "0"},
            layout={"width": f"{room + 6:g}em" if index == 0 else "6em"},
        )
        for index, value in enumerate(values)
    ]
    return ipywidgets.HBox(boxes)


def _boxes(made: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    return list(made.children) if isinstance(made, ipywidgets.HBox) else [made]


def _fit(box: ipywidgets.Widget, value: Any) -> None:
    """Let a box reach a value that was set from elsewhere; a slider gets a tick there."""
    if not hasattr(box, "min"):
        return
    at = _place(box, value)
    low, high = min(box.min, at), max(box.max, at)
    if isinstance(box, SLIDERS) and abs(at - _tick(low, box.step, at)) > 1e-6 * box.step:
        box.step = _step(low, high, at)
    box.min, box.max = low, high


def _step(low: float, high: float, at: float) -> float:
    """From tick to tick, about, such that there is one at `at`: a page shows nothing between."""
    step = (high - low) / TICKS
    ticks = round((at - low) / step)
    return (at - low) / ticks if ticks else step


def _echoes(slider: ipywidgets.Widget, value: float, known: float) -> bool:
    """Whether `value` is nothing but the page's answer to being shown `known`.

    A page moves every slider to its nearest tick, and reports that as if somebody had.
    """
    away = _place(slider, value) - _tick(slider.min, slider.step, _place(slider, known))
    return abs(away) < 1e-3 * slider.step


def _tick(low: float, step: float, at: float) -> float:
    return low + round((at - low) / step) * step


def _place(box: ipywidgets.Widget, value: float) -> float:
    """Where on its scale a value stands."""
    return math.log10(value) if isinstance(box, LogSlider) else value
