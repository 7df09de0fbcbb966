"""The line of Python that makes a run again."""

import ast
import builtins
import inspect
import linecache
from collections.abc import Mapping
from types import FrameType
from typing import Any

from labkit.record import Record


def line(record: Record, source: str, given: Mapping[str, Any], limit: int | None) -> str:
    """One line of Python that makes `record` again.

    `source` is the expression of a method whose fields have the values `given`; `limit` that of
    the run.
    """
    meta = record.meta
    changes = {name: v for name, v in meta["fields"].items() if v != given[name]}
    made = f"replace({source}, {changes})" if changes else source
    last = int(record.steps[-1]) if len(record) else 0
    turns = [(step, turned) for step, turned in meta.get("turns", ()) if step < last]
    said = [made, str(last), f"key={meta['key']}"]
    said += [f"every={meta['every']}"] * (meta["every"] != 1)
    said += [f"limit={limit}"] * (limit is not None and last // meta["every"] >= limit)
    said += [f"turns={turns}"] * bool(turns)
    names = "replace, run" if changes else "run"
    return f"from labkit import {names}; record = run({', '.join(said)})"


def first_argument(frame: FrameType) -> str:
    """What is written as the first argument of the call that `frame` is making.

    Empty where that is not known, or means something inside a function only.
    """
    found = inspect.getframeinfo(frame).positions
    if not found:
        return ""
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and tuple(found) == _place(node):
            for argument in [*node.args, *(pair.value for pair in node.keywords)][:1]:
                if not isinstance(argument, ast.Starred) and _is_known(argument, frame):
                    return ast.unparse(argument)
    return ""


def _place(node: ast.expr) -> tuple:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _is_known(expression: ast.expr, frame: FrameType) -> bool:
    """Whether its names mean the same outside the function that is running."""
    used = [node for node in ast.walk(expression) if isinstance(node, ast.Name)]
    bound = {node.id for node in used if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(expression) if isinstance(node, ast.arg)}
    inside = frame.f_locals if frame.f_locals is not frame.f_globals else {}
    return all(
        name not in inside and (name in frame.f_globals or hasattr(builtins, name))
        for name in {node.id for node in used} - bound
    )
