"""What was seen: named columns that share one axis, on the host.

A `Record` is a snapshot that never changes; a `Recorder` grows one.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labkit import npz
from labkit.errors import refusal, unknown


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
        contents = npz.Contents(self.steps, self.columns, self.events, dict(self.meta))
        return npz.write(path, contents)


def load(path: str | Path) -> Record:
    """The record that `Record.save` wrote.

    Raises ValueError, which says what is wrong, when the file is not a whole record; OSError
    when it cannot be opened.
    """
    steps, columns, events, meta = npz.read(path)
    return Record(steps, columns, tuple(Event(*event) for event in events), meta)
