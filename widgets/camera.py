"""What there is to see of a method without a hand on it: its run, row by row or knob by knob."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from labkit.errors import refusal
from labkit.method import Field, Method, check, fields, replace, resolve
from labkit.record import Record
from labkit.render.text import describe
from labkit.run import Run
from labkit.sweep import Sweep
from labkit.views import Panel, View


STATIC = "LABKIT_STATIC"  # environment: an Explorer is recorded when it is displayed
ROWS = 60  # of a run that are looked back at
VALUES = 17  # of a knob
SHORT = 8  # numbers: of a longer array no one stands for the whole
MOST_ROWS = 300  # of a run that would go on until it is stopped
ENDLESS = 10**9  # steps: nobody goes that far
PATIENCE = 6.0  # seconds of computing for one recording, compiling not counted


class Frame(NamedTuple):
    """One place of a slider: what stands beside it, what is said, what is seen."""

    label: str
    words: str
    panels: list[Panel]


class Reel(NamedTuple):
    """Frames to walk along, and which of them comes first to the eye."""

    frames: list[Frame]
    start: int


class Camera(NamedTuple):
    """A method as an Explorer runs it, and what it shows of a record."""

    method: Method
    views: Sequence[View]
    say: Callable[[Record], str] | None
    steps: int
    every: int = 1
    seed: int = 0
    limit: int = 1000

    def reel(self, record: Record | None = None, over: str | None = None) -> Reel:
        """The rows of a run (of `record`, where it is given), or the values of a field.

        A sweep is seen whole at once: it is walked over its first number.
        Raises KeyError when `over` is no field, ValueError when it is an array.
        """
        sweeps = isinstance(self.method, Sweep)
        if over is None and sweeps:
            over = _first_number(self.method)
        if over is not None:
            return self._over(over)
        record = self.record(self.method) if record is None else record
        if sweeps:
            return Reel([self._frame("", record)], 0)
        rows = np.linspace(0, len(record) - 1, min(ROWS, len(record))).round().astype(int)
        steps = [int(record.steps[row]) for row in rows]
        frames = [self._frame(f"step {step}", record.until(step)) for step in steps]
        return Reel(frames, len(frames) - 1)

    def record(self, method: Method) -> Record:
        """A run to its end, or as far as there is patience for."""
        steps = self.steps if self.steps < ENDLESS else MOST_ROWS * self.every
        run = Run(method, steps, key=self.seed, every=self.every, limit=self.limit)
        run.compile()
        began, rows = time.monotonic(), 1
        while not run.finished and time.monotonic() - began < PATIENCE:
            run.advance(rows)
            rows = min(2 * rows, 64)
        return run.record

    def _over(self, name: str) -> Reel:
        setting = _Setting.of(self.method, name)
        present = self._at(setting, setting.value)  # compiles
        began = time.monotonic()
        self._at(setting, setting.values(2)[-1])
        each = max(time.monotonic() - began, 1e-6)
        many = int(np.clip(PATIENCE / each, 3, VALUES))
        found = {setting.value: present}
        found = {v: found.get(v) or self._at(setting, v) for v in setting.values(many)}
        found = {value: frame for value, frame in found.items() if frame is not None}
        return Reel(list(found.values()), list(found).index(setting.value))

    def _at(self, setting: "_Setting", value: Any) -> Frame | None:
        try:
            method = replace(self.method, setting.change(value))
            check(method)
        except ValueError:  # makes no sense beside the other fields
            return None
        shown = value if isinstance(value, str) else f"{value:.3g}"
        return self._frame(f"{setting.label} = {shown}", self.record(method))

    def _frame(self, label: str, record: Record) -> Frame:
        panels = [view(record) for view in self.views]
        return Frame(label, self.say(record) if self.say else describe(panels), panels)


def static() -> bool:
    """Whether widgets are recorded instead of live: for pages that no kernel stands behind."""
    return os.environ.get(STATIC, "") not in ("", "0")


class _Setting(NamedTuple):
    """A field that is one number or one of several words, or an entry of one that is an array."""

    field: Field
    entry: int | None = None

    @classmethod
    def of(cls, method: Method, name: str) -> "_Setting":
        """Raises KeyError for an unknown name, ValueError for an array or an entry it has not."""
        base, bracket, index = name.partition("[")
        [base] = resolve(method, {base: None})
        field, entry = fields(method)[base], index.rstrip("]")
        if bool(bracket) != bool(np.ndim(field.value)):
            raise refusal("over", name, "a number or a choice; of an array an entry, as in x[0]")
        if bracket and not (entry.isdecimal() and int(entry) < np.size(field.value)):
            raise refusal("over", name, f"an entry of {np.size(field.value)}, from 0 on")
        return cls(field, int(entry) if bracket else None)

    @property
    def label(self) -> str:
        return self.field.label + ("" if self.entry is None else f"[{self.entry}]")

    @property
    def value(self) -> Any:
        return (
            self.field.value
            if self.entry is None
            else float(np.ravel(self.field.value)[self.entry])
        )

    def change(self, value: Any) -> dict[str, Any]:
        """The field with this value, or with this entry."""
        if self.entry is not None:
            whole = np.array(self.field.value)
            whole.flat[self.entry] = value
            value = whole
        return {self.field.name: value}

    def values(self, many: int) -> list[Any]:
        """About `many` values from end to end, the present one among them."""
        field, value = self.field, self.value
        if field.kind == "choice":
            return list(field.options)
        low, high = min(field.low, value), max(field.high, value)
        spread = np.geomspace(low, high, many) if field.log else np.linspace(low, high, many)
        if field.kind == "size":
            spread = np.unique(spread.round())
        spread[np.argmin(np.abs(spread - value))] = value
        return [value if each == value else type(value)(each) for each in spread.tolist()]


def _first_number(method: Method) -> str | None:
    """The first knob of a method; of one that has only arrays, the first entry of a short one."""
    knobs = [field for field in fields(method).values() if field.kind == "knob"]
    alone = [field.name for field in knobs if not np.ndim(field.value)]
    arrays = [f"{field.name}[0]" for field in knobs if 0 < np.size(field.value) <= SHORT]
    return next(iter([*alone, *arrays]), None)
