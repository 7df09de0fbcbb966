"""A record that grows: by doubling its buffers, and it hands out snapshots without copying."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from labkit.columns import objects, plain
from labkit.errors import refusal
from labkit.method import Latest
from labkit.record import Event, Record


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
