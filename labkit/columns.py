"""What was seen, as columns: named arrays [rows, ...] on the host."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from labkit.method import Latest, Padded


def objects(rows: Iterable) -> np.ndarray:
    """A column of texts or of arrays that differ in length."""
    rows = list(rows)
    column = np.empty(len(rows), object)
    for index, row in enumerate(rows):  # at once, rows of one length would become a matrix
        column[index] = row
    return column


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
