"""The file of a record: npz, readable without pickle."""

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from labkit.columns import objects


FORMAT = 1  # of the files that are written
# What NumPy raises for a file that was cut off, damaged, or never a record.
BROKEN = (
    *(OSError, LookupError, TypeError, ValueError, AttributeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)


class Contents(NamedTuple):
    """What a file holds."""

    steps: np.ndarray  # [rows]
    columns: Mapping[str, np.ndarray]  # [rows, ...] each, or [1, ...]
    events: Sequence[tuple[int, str]]
    meta: Mapping[str, Any]  # whatever JSON can hold


def write(path: str | Path, contents: Contents) -> Path:
    """Write a file; returns its path, which ends in ".npz".

    Raises OSError when that fails: a file that was there before is then as it was.
    """
    path = Path(path)
    if path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    arrays: dict[str, Any] = {"steps": contents.steps}
    ragged = {}
    for name, values in contents.columns.items():
        if values.dtype == object:
            ragged[name] = [v.tolist() if hasattr(v, "tolist") else v for v in values]
        else:
            arrays["column:" + name] = values
    about = {"events": contents.events, "meta": contents.meta, "ragged": ragged}
    about |= {"order": list(contents.columns), "format": FORMAT}
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


def read(path: str | Path) -> Contents:
    """What `write` wrote.

    Raises ValueError, which says what is wrong, when the file is not a whole record; OSError
    when it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except BROKEN as error:
            raise ValueError(f"{path} is no whole record: {error}") from error


def _read(file: IO[bytes]) -> Contents:
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
    events = [(step, sentence) for step, sentence in about["events"]]
    return Contents(steps, columns, events, about["meta"])


def _array(row: Any) -> Any:
    """A row of numbers as an array; a text, or lists in lists, as they are."""
    try:
        return row if isinstance(row, str) else np.asarray(row)
    except ValueError:  # not of one shape
        return row
