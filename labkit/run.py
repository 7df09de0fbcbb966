"""Run any method: on the device in chunks, seen on the host between chunks.

`advance` is the compiled heart.  `Run` holds one run on its way; `stream`, `run` and the
widgets are made of it.  `unroll` is the plain scan for those who differentiate through a
run.  Keys are folded from the step number, so the chunks cannot change the answer.
"""

import functools
import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Key

from labkit.errors import refusal
from labkit.method import Latest, Method, State, cast, check, fields
from labkit.record import Record, Recorder, all_finite, one_row


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


class Run:
    """One run on its way: what a stream and a widget hold.

    Raises ValueError when the method, `steps` or `every` is refused.
    """

    def __init__(
        self,
        method: Method,
        steps: int | None = None,
        *,
        key: int | Key[Array, ""] = 0,
        every: int = 1,
        probes: Mapping[str, Probe] | None = None,
        limit: int | None = None,
        after: Record | None = None,
    ):
        steps = getattr(method, "steps", None) if steps is None else steps
        if not isinstance(steps, int | np.integer) or steps < 0:
            raise refusal("steps", steps, "a whole number, 0 or more")
        if not isinstance(every, int | np.integer) or every < 1:
            raise refusal("every", every, "a whole number, 1 or more")
        if after is not None and after.state is None:
            raise refusal(
                "state of after", None, "a whole record of a run, not loaded or cut short"
            )
        self.every, self.probes = min(int(every), FOREVER), tuple((probes or {}).items())
        self.turn(method)
        self.host = getattr(method, "host", False)
        key = jr.key(key) if isinstance(key, int | np.integer) else key
        self.init_key, self.key = jr.split(key)
        self.recorder = Recorder(limit, about(method))
        self.state = None if after is None else after.state
        self.step = 0 if after is None else int(after.steps[-1])
        self.next = 0 if after is None else self._stride()  # step of the next row
        self.end = min(self.step + int(steps), FOREVER)
        self.finished = False

    def turn(self, method: Method) -> None:
        """Go on with other knobs.  Raises ValueError, and changes nothing, when refused."""
        check(method)
        self.method = cast(method)

    def compile(self) -> None:
        """Make the programs now, so that the first rows come at once afterwards."""
        self.start()
        if not self.host:
            jax.block_until_ready(self._advanced(rows=0))

    def start(self) -> None:
        """Make the state at step 0, unless there is a state already."""
        if self.state is None:
            make = self.method.init if self.host else lambda key: initial(self.method, key)
            self.state = make(self.init_key)

    @property
    def record(self) -> Record:
        """What has been seen so far."""
        return self.recorder.record(self.state)

    def advance(self, rows: int) -> int:
        """Go `rows` rows further, or to the end; returns how many rows were seen.

        A last row at the end of the run is seen even where `every` does not divide it.
        """
        self.start()
        seen = 0
        while seen < rows and not self.finished:
            if not self.recorder.room:
                self.recorder.thin()
                self.every = min(2 * self.every, FOREVER)
                self.next = self._stride()
            few = int(min(rows - seen, self.recorder.room))
            seen += self._host_row() if self.host else self._rows(few)
        return seen

    def _stride(self) -> int:
        """The next step that is a multiple of the stride."""
        return (self.step // self.every + 1) * self.every

    def _advanced(self, rows: int) -> Advanced:
        first, start = min(self.next, self.end) - self.step, self.step
        options = {"first": first, "end": self.end, "probes": self.probes}
        return advance(self.method, self.state, self.key, start, rows, self.every, **options)

    def _rows(self, rows: int) -> int:
        out = self._advanced(rows)
        self.keep(jax.device_get(out._replace(state=None)), out.state)
        return int(out.rows)

    def keep(self, out: Advanced, state: State) -> None:
        """Take in what `advance` gave back: rows on the host, the state wherever it is."""
        rows = lambda a: a[: out.rows]
        self.state = state
        self._keep(rows(out.steps), jax.tree.map(rows, out.seen), bool(out.done), bool(out.finite))

    def _host_row(self) -> int:
        is_done = getattr(self.method, "done", lambda state: False)
        target = min(self.next, self.end)
        while self.step < target and not is_done(self.state):
            self.state = self.method.step(self.state, jr.fold_in(self.key, self.step))
            self.step += 1
        seen = dict(self.method.observe(self.state))
        seen |= {name: probe(self.state) for name, probe in self.probes}
        finite = all(all_finite(value) for value in seen.values())
        self._keep(np.array([self.step]), one_row(seen), bool(is_done(self.state)), finite)
        return 1

    def _keep(self, steps: np.ndarray, seen: Mapping[str, Any], done: bool, finite: bool) -> None:
        self.recorder.add(steps, seen)
        self.step = int(steps[-1])
        if not finite:
            self._note_not_finite(seen)
        elif done:
            says = inspect.getdoc(self.method.done) or "the method is done"
            self.recorder.note(self.step, says.splitlines()[0])
        self.finished = done or not finite or self.step >= self.end
        self.next = self._stride()

    def _note_not_finite(self, seen: Mapping[str, Any]) -> None:
        last = {name: jax.tree.map(lambda a: a[-1], value) for name, value in seen.items()}
        names = ", ".join(name for name, value in last.items() if not all_finite(value))
        says = f"diverged at step {self.step}, where {names} ceased to be finite; all rows are kept"
        self.recorder.note(self.step, says)


def blank(method: Method) -> Record:
    """A record of one row in which nothing is known yet, without compiling anything.

    Numbers are NaN, whole numbers 0.  Raises TypeError for a host method, whose columns are
    not known before it runs.
    """
    if getattr(method, "host", False):
        raise TypeError(f"{type(method).__name__} runs on the host: its columns are not known yet")
    look = lambda method, key: see(method, method.init(key))
    shapes = jax.eval_shape(look, cast(method), jr.key(0))
    recorder = Recorder()
    nothing = lambda s: np.full(
        (1, *s.shape), np.nan if jnp.issubdtype(s.dtype, jnp.inexact) else 0, s.dtype
    )
    recorder.add(np.zeros(1, int), jax.tree.map(nothing, shapes))
    return recorder.record()


def about(method: Method) -> dict[str, Any]:
    """What a record says of the method that made it."""
    values = {name: np.asarray(field.value).tolist() for name, field in fields(method).items()}
    return {"method": type(method).__name__, "fields": values}


def stream(
    method: Method,
    steps: int | None = None,
    *,
    key: int | Key[Array, ""] = 0,
    every: int = 1,
    chunk: int | None = None,
    probes: Mapping[str, Probe] | None = None,
    limit: int | None = None,
    after: Record | None = None,
) -> Iterator[Record]:
    """Yield the growing record: first the start, then after each `chunk` of rows.

    Args that a run takes: `steps` (default: the method's own), `key` (a seed or a JAX key),
    `every` (steps between rows), `probes` (further columns: name -> function of the state),
    `limit` (rows after which a record thins itself), `after` (a record to go on from).
    Without `chunk`, as much is run at a time as takes a tenth of a second.
    """
    if chunk is not None and chunk < 1:
        raise refusal("chunk", chunk, "1 row or more, or None")
    run = Run(method, steps, key=key, every=every, probes=probes, limit=limit, after=after)
    rows = 1
    while not run.finished:
        began = time.perf_counter()
        run.advance(rows)
        yield run.record
        quick = time.perf_counter() - began < 0.1
        rows = chunk or (min(2 * rows, MOST_ROWS) if quick else max(1, rows // 2))


def run(method: Method, steps: int | None = None, **options) -> Record:
    """The record of a whole run: the last that `stream` yields, whose options it takes."""
    run = Run(method, steps, **options)
    while not run.finished:
        run.advance(MOST_ROWS)
    return run.record


def unroll(
    method: Method, steps: int, key: int | Key[Array, ""] = 0
) -> tuple[State, dict[str, Array]]:
    """The last state and all rows [steps + 1, ...] as a plain scan: differentiable.

    Sees the same as `run(method, steps)`, but never stops early.
    """
    key = jr.key(key) if isinstance(key, int | np.integer) else key
    init_key, run_key = jr.split(key)

    def one(state, t):
        state = strong(method.step(state, jr.fold_in(run_key, t)))
        return state, see(method, state)

    state = strong(method.init(init_key))
    start = see(method, state)
    state, rows = jax.lax.scan(one, state, jnp.arange(steps))
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, rows)
