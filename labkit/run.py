"""Run any method: in chunks, seen on the host between them.

`Run` holds one run on its way; `stream`, `run` and the widgets are made of it.
"""

import inspect
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Key

from labkit.columns import all_finite, one_row
from labkit.device import version
from labkit.errors import refusal
from labkit.loop import FOREVER, MOST_ROWS, Advanced, Probe, Span, advance, initial, see
from labkit.method import Method, State, cast, check, fields, replace
from labkit.record import Record
from labkit.recorder import Recorder


Turn = tuple[int, Mapping[str, Any]]  # a step, and what the fields named are from there on


class Run:
    """One run on its way: what a stream and a widget hold.

    Raises ValueError when the method, `steps`, `every` or `turns` is refused.
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
        turns: Sequence[Turn] = (),
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
        self.every = self.asked = min(int(every), FOREVER)  # the first grows as the record thins
        self.probes = tuple((probes or {}).items())
        seed = int(key) if isinstance(key, int | np.integer) else None
        made = {"labkit": version("labkit"), "key": seed, "every": self.every, "steps": int(steps)}
        self.recorder = Recorder(limit, {"method": type(method).__name__, **made})
        self.host = getattr(method, "host", False)
        self.state, self.step, self.next = None, 0, 0  # the last is the step of the next row
        self.turn(method)
        self.init_key, self.key = jr.split(key if seed is None else jr.key(seed))
        if after is not None:
            self.state, self.step = after.state, int(after.steps[-1])
            self.next = self._stride()
        self.end = min(self.step + int(steps), FOREVER)
        self.finished = False
        self._turns = sorted(turns, key=lambda turn: turn[0])  # that are to come
        for turn in self._turns:
            check(replace(method, turn[1]))

    def turn(self, method: Method) -> None:
        """Go on with other knobs, which the record notes with the step.

        Raises ValueError, and changes nothing, when refused.
        """
        check(method)
        self.given, self.method = method, cast(method)
        known, meta = fields(method), self.recorder.meta
        values = {name: plain_value(field.value) for name, field in known.items()}
        if self.next == self.step:  # not even the start was seen: it starts with these
            self.state = None
            meta["fields"], self._values = values, values
            return
        changed = {name: v for name, v in values.items() if v != self._values[name]}
        if changed:
            meta["turns"] = [*meta.get("turns", ()), [self.step, changed]]
            says = ", ".join(f"{known[name].label} = {_short(v)}" for name, v in changed.items())
            self.recorder.note(self.step, says)
            self._values = values

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
        return self.recorder.record()

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
            few = int(min(rows - seen, self.recorder.room, self._rows_to_a_turn()))
            seen += self._host_row() if self.host else self._rows(few)
        return seen

    def walk(self, steps: float) -> bool:
        """Go about `steps` steps towards the next row, and see nothing; whether it went at all.

        For where rows lie too far apart to wait for.  It stops short of the row, and where there
        would be one at the stride that was asked for, so that knobs turned there can be again.
        """
        most = min(self.step + max(int(steps), self.asked), min(self.next, self.end) - 1)
        before, few = self.step, most // self.asked * self.asked - self.step
        if few < 1:
            return False
        self.start()
        if self.host:
            self._host_steps(self.step + few)
        else:
            span = Span(self.step, 1, few, few, self.end)._asdict()
            out = advance(self.method, self.state, self.key, **span, probes=self.probes)
            self.state, self.step = out.state, int(out.step)
        return self.step > before

    def _rows_to_a_turn(self) -> float:
        """How many rows to go with the knobs as they are; those whose turn has come are turned."""
        # Where there is, or would be without a limit, a row at that step or right after it.
        due = lambda: -(-self._turns[0][0] // self.asked) * self.asked
        while self._turns and self.step < self.next:
            if self.step < due() < self.next:
                self.walk(due() - self.step)
            if self.step < due():
                break
            self.turn(replace(self.given, self._turns.pop(0)[1]))
        return max(0, (due() - self.next) // self.every) + 1 if self._turns else math.inf

    def _stride(self) -> int:
        """The next step that is a multiple of the stride."""
        return (self.step // self.every + 1) * self.every

    def span(self, rows: int) -> Span:
        """The next `rows` rows; none when the run is finished."""
        first = min(self.next, self.end) - self.step
        return Span(self.step, 0 if self.finished else rows, self.every, first, self.end)

    def _advanced(self, rows: int) -> Advanced:
        span = self.span(rows)._asdict()
        return advance(self.method, self.state, self.key, **span, probes=self.probes)

    def _rows(self, rows: int) -> int:
        out = self._advanced(rows)
        self.keep(jax.device_get(out._replace(state=None)), out.state)
        return int(out.rows)

    def keep(self, out: Advanced, state: State) -> None:
        """Take in what `advance` gave back: rows on the host, the state wherever it is."""
        rows = lambda a: a[: out.rows]
        self.state = state
        if out.rows:
            seen = jax.tree.map(rows, out.seen)
            self._keep(rows(out.steps), seen, bool(out.done), bool(out.finite))

    def _host_steps(self, target: int) -> bool:
        """Go to a step, or to where the method is done; whether it is."""
        is_done = getattr(self.method, "done", lambda state: False)
        while self.step < target and not is_done(self.state):
            self.state = self.method.step(self.state, jr.fold_in(self.key, self.step))
            self.step += 1
        return bool(is_done(self.state))

    def _host_row(self) -> int:
        done = self._host_steps(min(self.next, self.end))
        seen = dict(self.method.observe(self.state))
        seen |= {name: probe(self.state) for name, probe in self.probes}
        finite = all(all_finite(value) for value in seen.values())
        self._keep(np.array([self.step]), one_row(seen), done, finite)
        return 1

    def _keep(self, steps: np.ndarray, seen: Mapping[str, Any], done: bool, finite: bool) -> None:
        self.recorder.add(steps, seen, self.state)
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


def plain_value(value: Any) -> Any:
    """The value of a field as one would type it: numbers, lists of them, a word."""
    array = np.asarray(value)
    if array.dtype == np.float32:  # 0.1 is typed as 0.1, not as 0.10000000149
        array = array.astype(str).astype(float)
    return array.tolist()


def _short(value: Any) -> str:
    """A value as one says it."""
    if isinstance(value, list):
        value = np.array2string(np.asarray(value), precision=4, threshold=4, separator=", ")
        return " ".join(value.split())
    return f"{value:.4g}" if isinstance(value, int | float) else value


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
    turns: Sequence[Turn] = (),
) -> Iterator[Record]:
    """Yield the growing record: first the start, then after each `chunk` of rows.

    Args that a run takes: `steps` (default: the method's own), `key` (a seed or a JAX key),
    `every` (steps between rows), `probes` (further columns: name -> function of the state;
    another function is another program, so define it once),
    `limit` (rows after which a record thins itself), `after` (a record to go on from), `turns`
    (knobs to turn on the way: pairs of a step and of {name: value}; the row at that step, or the
    first one after it, is the last with the knobs as they were).
    Without `chunk`, as much is run at a time as takes a tenth of a second.
    """
    if chunk is not None and chunk < 1:
        raise refusal("chunk", chunk, "1 row or more, or None")
    options = {"every": every, "probes": probes, "limit": limit, "after": after, "turns": turns}
    run = Run(method, steps, key=key, **options)
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
