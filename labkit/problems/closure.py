"""What a function takes from its surroundings: the large arrays hidden in it.

Under `jit` an array that is no argument becomes a constant of the program.  Large ones make
compiling slow, stay in memory as long as the program, and force a new one when they change.
"""

import dis
import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import jax
import numpy as np


LARGE = 100_000  # numbers; fewer compile without being noticed


def hidden_arrays(function: Callable, large: int = LARGE) -> list[tuple[str, int]]:
    """(name, size) of what `function` holds with more than `large` numbers in it.

    Looks at closures, globals, defaults, what a partial or the object of a method carries,
    and at functions of the same module that it uses.
    """
    sizes = {name: _size(value) for name, value in _surroundings(function, seen=set())}
    return [(name, size) for name, size in sizes.items() if size > large]


def _size(value: Any) -> int:
    """How many numbers the arrays of a pytree have together."""
    try:
        leaves = jax.tree.leaves(value)
    except (TypeError, ValueError):  # no pytree, like a dictionary whose keys have no order
        return 0
    return sum(leaf.size for leaf in leaves if isinstance(leaf, jax.Array | np.ndarray))


def _surroundings(function: Callable, seen: set) -> Iterator[tuple[str, Any]]:
    """(name, value) of each thing that `function` uses and is not given."""
    if isinstance(function, functools.partial):
        yield from ((f"argument {index}", v) for index, v in enumerate(function.args))
        yield from function.keywords.items()
        yield from _surroundings(function.func, seen)
        return
    function = inspect.unwrap(function)  # what jit and its like have wrapped
    if not isinstance(function, FunctionType):
        yield from _carried(function)
        method = function if inspect.ismethod(function) else type(function).__call__
        function = inspect.unwrap(getattr(method, "__func__", method))
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    for name, value in (*_closure(function), *_globals(function), *_defaults(function)):
        yield name, value
        ours = getattr(value, "__module__", None) == function.__module__
        if ours and isinstance(inspect.unwrap(value), FunctionType):
            yield from _surroundings(value, seen)


def _carried(owned: Callable) -> Iterator[tuple[str, Any]]:
    """What the object of a bound method, or an object that can be called, carries."""
    owner = getattr(owned, "__self__", owned)
    yield from ((f"self.{name}", v) for name, v in getattr(owner, "__dict__", {}).items())


def _closure(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not yet filled: a function that is being defined
            continue


def _globals(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name in dict.fromkeys(_loaded(function.__code__)):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _loaded(code: CodeType) -> Iterator[str]:
    """The global names that `code` loads, those of functions within it included.

    Not `inspect.getclosurevars`, which takes the attribute in `data.x` for a global `x`.
    """
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _loaded(constant)


def _defaults(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            yield name, parameter.default
