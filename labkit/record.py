"""What was seen: named columns that share one axis, on the host.

A `Record` is a snapshot that never changes; a `Recorder` grows by doubling its
buffers and hands out such snapshots without copying.
"""

import contextlib
import dataclasses
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from labkit.errors import refusal, unknown
from labkit.method import Latest, Padded


FORMAT = 1  # of the files that `save` writes
# What NumPy raises for a file that was cut off, damaged, or never a record.
BROKEN = (
    *(OSError, LookupError, TypeError, ValueError, AttributeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)


class Event(NamedTuple):
    """Something worth a sentence that happened at a step."""

    step: int
    sentence: str


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """`steps[i]` is when row i was seen; `record[name][i]` is what was seen.

    Where a column varies in number, entries beyond its count are NaN and the count has
    a column of its own, "name.count".  A column of which only the newest row is kept
    has one row.  Texts and ragged rows are arrays of objects.
    """

    steps: np.ndarray  # [rows]
    columns: Mapping[str, np.ndarray]  # [rows, ...] each
    events: tuple[Event, ...] = ()
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    state: Any = None  # of the method after the last row; not saved, nor known of fewer rows

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> np.ndarray:
        """One column.  Raises KeyError, which lists the columns there are."""
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        return self.columns[name]

    def last(self, name: str) -> Any:
        """The newest entry of a column."""
        return self[name][-1]

    def until(self, step: int) -> "Record":
        """What had been seen by `step`: the record as it was then (one row at least)."""
        first = self._first(max(1, int(np.searchsorted(self.steps, step, side="right"))))
        events = tuple(event for event in self.events if event.step <= step)
        return dataclasses.replace(first, events=events)

    def _first(self, rows: int) -> "Record":
        columns = {name: values[:rows] for name, values in self.columns.items()}
        state = self.state if rows >= len(self) else None
        return dataclasses.replace(self, steps=self.steps[:rows], columns=columns, state=state)

    def beside(self, **others: "Record") -> "Record":
        """This record with the columns of others over the same steps, as "name.column".

        Raises ValueError when the steps differ; rows after the shortest record are dropped.
        """
        rows = min(map(len, [self, *others.values()]))
        first = self._first(rows)
        columns, events = dict(first.columns), list(self.events)
        for prefix, other in others.items():
            if not np.array_equal(other.steps[:rows], first.steps):
                raise refusal(prefix, other.steps, f"a record of the steps {self.steps}")
            columns |= {f"{prefix}.{n}": values[:rows] for n, values in other.columns.items()}
            events += [Event(event.step, f"{prefix}: {event.sentence}") for event in other.events]
        return dataclasses.replace(first, columns=columns, events=tuple(events))

    def to_pandas(self) -> Any:
        """A DataFrame indexed by step; "name[i]" for each entry of a column of arrays.

        Raises ImportError when pandas is not installed.
        """
        import pandas

        flat = {}
        for name, values in self.columns.items():
            if len(values) != len(self):
                continue  # only the newest row was kept: not a column of a table
            if values.ndim == 1:
                flat[name] = values
            else:
                for index in np.ndindex(*values.shape[1:]):
                    flat[f"{name}[{','.join(map(str, index))}]"] = values[(slice(None), *index)]
        return pandas.DataFrame(flat, index=pandas.Index(self.steps, name="step"))

    def save(self, path: str | Path) -> Path:
        """Write the record as npz, readable without pickle; returns the path written.

        Raises OSError when that fails: a file that was there before is then as it was.
        """
        path = Path(path)
        if path.suffix != ".npz":
            path = path.with_name(path.name + ".npz")
        arrays: dict[str, Any] = {"steps": self.steps}
        ragged = {}
        for name, values in self.columns.items():
            if values.dtype == object:
                ragged[name] = [v.tolist() if hasattr(v, "tolist") else v for v in values]
            else:
                arrays["column:" + name] = values
        about = {"events": self.events, "meta": dict(self.meta), "ragged": ragged}
        about |= {"order": list(self.columns), "format": FORMAT}
        arrays["about"] = np.array(json.dumps(about, default=str))
        whole = Path(os.path.realpath(path))  # what a link leads to
        part = whole.with_name(f".{whole.name}.{os.getpid()}.part")
        try:
            with open(part, "wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(part, whole)
        except OSError as error:
            why = error.strerror or str(error)
            raise type(error)(error.errno, f"the record was not saved: {why}", str(path)) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        return path


def load(path: str | Path) -> Record:
    """The record that `Record.save` wrote.

    Raises ValueError, which says what is wrong, when the file is not a whole record; OSError
    when it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except BROKEN as error:
            raise ValueError(f"{path} is no whole record: {error}") from error


def _read(file: IO[bytes]) -> Record:
    if not zipfile.is_zipfile(file):
        raise ValueError("it is not an npz file, or was cut off")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        if not {"about", "steps"} <= set(arrays.files):
            raise ValueError(f"it holds something else: {', '.join(arrays.files)}")
        about, steps = json.loads(str(arrays["about"])), arrays["steps"]
        columns = {n[7:]: arrays[n] for n in arrays.files if n.startswith("column:")}
    if about.get("format", FORMAT) != FORMAT:
        raise ValueError(f"its format is {about['format']}, and this labkit reads {FORMAT}")
    columns |= {name: objects(map(_array, rows)) for name, rows in about["ragged"].items()}
    if steps.dtype.kind not in "iu" or steps.ndim != 1:
        raise ValueError(f"its steps are {steps.dtype} {list(steps.shape)}, not whole numbers")
    for name in about["order"]:
        rows = np.shape(columns.get(name, np.nan))[:1]
        if rows not in ((len(steps),), (1,)):  # of a picture only the newest row is kept
            held = f"has {rows[0]} rows" if rows else "is missing"
            raise ValueError(f"column {name!r} {held}; there are {len(steps)} steps")
    columns = {name: columns[name] for name in about["order"]}
    return Record(steps, columns, tuple(Event(*e) for e in about["events"]), about["meta"])


def _array(row: Any) -> Any:
    """A row of numbers as an array; a text, or lists in lists, as they are."""
    try:
        return row if isinstance(row, str) else np.asarray(row)
    except ValueError:  # not of one shape
        return row


def objects(rows: Iterable) -> np.ndarray:
    """A column of texts or of arrays that differ in length."""
    rows = list(rows)
    column = np.empty(len(rows), object)
    for index, row in enumerate(rows):  # at once, rows of one length would become a matrix
        column[index] = row
    return column


class Recorder:
    """Grows a record.  With a row `limit` it thins itself: every second row goes.

    Whoever adds rows then adds them twice as far apart, so that a run may go on for hours
    within the same memory.
    """

    def __init__(self, limit: int | None = None, meta: Mapping[str, Any] | None = None):
        if limit is not None and (not isinstance(limit, int | np.integer) or limit < 2):
            raise refusal("limit", limit, "2 rows or more, or None")
        self.limit, self.meta = limit, dict(meta or {})
        self.events: list[Event] = []
        self.state: Any = None  # after the last row
        # A widget's thread adds rows while a cell looks at the record.
        self._lock = threading.RLock()
        self._rows = 0
        self._buffers: dict[str, np.ndarray] = {}
        self._latest: set[str] = set()

    def add(self, steps: np.ndarray, seen: Mapping[str, Any], state: Any = None) -> None:
        """Append rows: `steps` [rows] and, by name, what was seen [rows, ...].

        `state` is that after the last of them.  Raises ValueError when the names are not
        those of the rows before.
        """
        new = {"": steps, **plain(seen)}
        if self._buffers and new.keys() != self._buffers.keys():
            names, before = (", ".join(sorted(n for n in c if n)) for c in (new, self._buffers))
            raise refusal("columns", names, f"at every step the same: {before}")
        with self._lock:
            for name, values in new.items():
                if isinstance(seen.get(name), Latest):
                    self._latest.add(name)
                    self._buffers[name] = values[-1:]
                else:
                    self._append(name, values)
            self._rows += len(steps)
            self.state = state

    def note(self, step: int, sentence: str) -> None:
        """Leave an event."""
        with self._lock:
            self.events.append(Event(int(step), sentence))

    def record(self) -> Record:
        """What has been seen so far."""
        with self._lock:
            columns = {
                name: buffer if name in self._latest else buffer[: self._rows]
                for name, buffer in self._buffers.items()
            }
            steps = columns.pop("", np.zeros(0, int))
            return Record(steps, columns, tuple(self.events), dict(self.meta), self.state)

    def _append(self, name: str, values: np.ndarray) -> None:
        buffer = self._buffers.get(name, values[:0])
        if buffer.dtype != object and buffer.shape[1:] != values.shape[1:]:
            buffer = objects(buffer[: self._rows])  # ragged from here on
        if buffer.dtype == object and values.dtype != object:
            values = objects(values)
        need, dtype = self._rows + len(values), np.result_type(buffer, values)
        if need > len(buffer) or dtype != buffer.dtype:
            # A snapshot given out keeps the old buffer; rows in it are never rewritten.
            grown = np.empty((max(need, 2 * self._rows, 16), *values.shape[1:]), dtype)
            grown[: self._rows] = buffer[: self._rows]
            buffer = grown
        buffer[self._rows : need] = values
        self._buffers[name] = buffer

    @property
    def room(self) -> float:
        """How many rows may be added before the record has to be thinned."""
        return float("inf") if self.limit is None else self.limit - self._rows

    def thin(self) -> None:
        """Drop every second row."""
        with self._lock:
            for name, buffer in self._buffers.items():
                if name not in self._latest:
                    self._buffers[name] = buffer[: self._rows : 2].copy()
            self._rows = (self._rows + 1) // 2


def plain(seen: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Stacked rows [rows, ...] as the columns of a record: padding is NaN, counts are columns."""
    columns = {}
    for name, value in seen.items():
        if isinstance(value, Padded):
            values = np.array(value.values, np.result_type(value.values, np.float32))
            count = np.asarray(value.count)
            beyond = np.arange(values.shape[1]) >= count[:, None]
            values[beyond] = np.nan
            columns[name], columns[name + ".count"] = values, count
        else:
            values = np.asarray(value.values if isinstance(value, Latest) else value)
            # bfloat16 and its like, which NumPy neither saves nor draws.
            columns[name] = values.astype(np.float32) if values.dtype.kind == "V" else values
    return columns


def one_row(seen: Mapping[str, Any]) -> dict[str, Any]:
    """What a host method saw at one step, as stacked columns of one row."""
    return {name: _one(value) for name, value in seen.items()}


def _one(value: Any) -> Any:
    if isinstance(value, Padded):
        return Padded(np.asarray(value.values)[None], np.asarray(value.count)[None])
    if isinstance(value, Latest):
        return Latest(_one(value.values))
    array = None if isinstance(value, str | list | tuple) else np.asarray(value)
    if array is None or array.dtype.kind not in "biufc":
        return objects([value])
    return array[None]


def all_finite(value: Any, xp: Any = np) -> Any:
    """Whether one seen value is finite, padding aside; `xp` is numpy or jax.numpy."""
    if isinstance(value, Padded):
        values = xp.asarray(value.values)
        beyond = xp.arange(values.shape[0]) >= value.count
        return (xp.isfinite(values) | beyond.reshape(-1, *[1] * (values.ndim - 1))).all()
    values = value.values if isinstance(value, Latest) else value
    if isinstance(values, str | list | tuple):
        return True  # texts and lists of things: nothing to be finite
    values = xp.asarray(values)
    return xp.isfinite(values).all() if xp.issubdtype(values.dtype, np.inexact) else True
