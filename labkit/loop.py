"""The compiled heart of a run: steps on the device, rows into a buffer.

`advance` records a number of rows that is traced, so that a caller picks how much fits its
time and one program serves.  `unroll` is the plain scan, for those who differentiate through
a run.  Keys are folded from the step number: however a run is cut, it sees the same.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Key

from labkit.columns import all_finite
from labkit.errors import refusal
from labkit.method import Latest, Method, State


Probe = Callable[[State], Array]
Probes = tuple[tuple[str, Probe], ...]

MOST_ROWS = 256  # that one call of `advance` records
MOST_BYTES = 2**25  # of its buffer
FOREVER = 2**31 - 1  # the last step there can be
PROGRAMS = 64  # kept compiled: a cell that is run again and again must not fill the memory


class Span(NamedTuple):
    """Which rows to record: five whole numbers, traced."""

    start: Any  # the step where the run stands
    rows: Any  # how many at most
    every: Any  # steps from one to the next
    first: Any  # steps to the first; 0 to see the start
    end: Any  # the step of a last one, whether or not it is a whole stride away


class Advanced(NamedTuple):
    """What `advance` gives back."""

    state: State
    step: Array  # where the run stands
    steps: Array  # [most] of each row
    seen: dict[str, Any]  # by name, [most, ...]
    rows: Array  # how many of these rows were filled
    done: Array  # whether the method's `done` ended the run
    finite: Array  # whether everything in the last row is finite


def advance(
    method: Method,
    state: State,
    key: Key[Array, ""],
    start: int,
    rows: int,
    every: int,
    first: int | None = None,
    end: int = FOREVER,
    probes: Probes = (),
) -> Advanced:
    """Record `rows` rows, `every` steps apart, from `state` at step `start`.

    The first row comes after `first` steps (`every` when not given; 0 to see the start).
    At step `end` a last row is recorded, whether or not it is a whole stride away.  All
    five numbers are traced: however much a caller asks for, one program serves; it records
    at most `most_rows` rows a call.  The run stops after a row that is not finite, and at
    the step where the method is done, which is recorded.
    """
    first = every if first is None else first
    leaves, structure = jax.tree.flatten(method)
    span = whole(Span(start, rows, every, first, end))
    return _programs(structure, probes).advance(leaves, state, key, span)


def whole(span: Span) -> Span:
    """The numbers as one kind of array, so that none of them is traced anew."""
    return Span(*(jnp.asarray(number, jnp.int32) for number in span))


def initial(method: Method, key: Key[Array, ""]) -> State:
    """The state at step 0, compiled."""
    leaves, structure = jax.tree.flatten(method)
    return _programs(structure, ()).init(leaves, key)


class _Programs(NamedTuple):
    init: Callable
    advance: Callable


@functools.lru_cache(maxsize=PROGRAMS)
def _programs(structure: Any, probes: Probes) -> _Programs:
    """The compiled programs for methods of one structure; dropped when others were used since.

    A program belongs to a function made here, not to the module, so that dropping it also
    drops what it was made for: a loss from a notebook cell, and the arrays it closes over.
    """

    def init(leaves, key):
        return strong(jax.tree.unflatten(structure, leaves).init(key))

    def advance(leaves, state, key, span):
        return loop(jax.tree.unflatten(structure, leaves), state, key, span, probes)

    return _Programs(jax.jit(init), jax.jit(advance))


def strong(state: State) -> State:
    """Without weak types, which would make a second program for the second chunk."""

    def strong(a):
        a = jnp.asarray(a)
        weak = getattr(a, "weak_type", False)  # which an array of random keys has not
        return jax.lax.convert_element_type(a, a.dtype) if weak else a

    return jax.tree.map(strong, state)


def see(method: Method, state: State, probes: Probes = ()) -> dict[str, Any]:
    """What can be seen of a state, by name: the method's own columns, then the probes."""
    seen = {**method.observe(state), **{name: probe(state) for name, probe in probes}}
    return jax.tree.map(jnp.asarray, seen)


def loop(
    method: Method,
    state: State,
    key: Key[Array, ""],
    span: Span,
    probes: Probes,
    most: int | None = None,
) -> Advanced:
    """The loop inside `advance`, for a caller that compiles it itself."""
    is_done = getattr(method, "done", lambda state: False)
    shapes = jax.eval_shape(lambda s: see(method, s, probes), state)
    most = most_rows(shapes) if most is None else most

    def one_step(carry):
        t, state = carry
        return t + 1, strong(method.step(state, jr.fold_in(key, t)))

    def one_row(carry):
        out, target = carry
        going = lambda c: (c[0] < target) & ~jnp.asarray(is_done(c[1]))
        t, state = jax.lax.while_loop(going, one_step, (out.step, out.state))
        row = see(method, state, probes)
        finite = [all_finite(value, jnp) for value in row.values()]
        new = Advanced(
            state=state,
            step=t,
            steps=out.steps.at[out.rows].set(t),
            seen={name: _written(out.seen[name], out.rows, row[name]) for name in row},
            rows=out.rows + 1,
            done=jnp.asarray(is_done(state), bool),
            finite=jnp.stack([jnp.asarray(True), *map(jnp.asarray, finite)]).all(),
        )
        # Not target + every: that would pass the largest int32 where `end` is forever.
        return new, target + jnp.minimum(span.every, span.end - target)

    def more(carry):
        out, _ = carry
        going = (out.rows < jnp.minimum(span.rows, most)) & ~out.done & out.finite
        return going & ((out.step < span.end) | (out.rows == 0))

    out = Advanced(
        state=state,
        step=span.start,
        steps=jnp.zeros(most, jnp.int32),
        seen={name: _buffer(shape, most) for name, shape in shapes.items()},
        rows=jnp.zeros((), jnp.int32),
        done=jnp.asarray(False),
        finite=jnp.asarray(True),
    )
    first = span.start + jnp.minimum(span.first, span.end - span.start)
    return jax.lax.while_loop(more, one_row, (out, first))[0]


def _buffer(shape: Any, rows: int) -> Any:
    rows = 1 if isinstance(shape, Latest) else rows
    return jax.tree.map(lambda s: jnp.zeros((rows, *s.shape), s.dtype), shape)


def _written(buffer: Any, index: Array, value: Any) -> Any:
    at = 0 if isinstance(value, Latest) else index
    return jax.tree.map(lambda b, v: b.at[at].set(v), buffer, value)


def most_rows(shapes: Mapping[str, Any]) -> int:
    """How many rows of these shapes one call of `advance` records."""
    size = sum(
        math.prod(s.shape) * s.dtype.itemsize
        for value in shapes.values()
        if not isinstance(value, Latest)
        for s in jax.tree.leaves(value)
    )
    return max(1, min(MOST_ROWS, MOST_BYTES // max(size, 1)))


def unroll(
    method: Method, steps: int, key: int | Key[Array, ""] = 0
) -> tuple[State, dict[str, Array]]:
    """The last state and all rows [steps + 1, ...] as a plain scan: differentiable.

    Sees the same as `run(method, steps)`, but never stops early, and keeps all rows of what
    is `Latest`.  Raises ValueError for a host method.
    """
    if getattr(method, "host", False):
        raise refusal("method", type(method).__name__, "a method whose steps are compiled")
    key = jr.key(key) if isinstance(key, int | np.integer) else key
    init_key, run_key = jr.split(key)

    def one(state, t):
        state = strong(method.step(state, jr.fold_in(run_key, t)))
        return state, see(method, state)

    state = strong(method.init(init_key))
    start = see(method, state)
    state, rows = jax.lax.scan(one, state, jnp.arange(steps))
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, rows)
