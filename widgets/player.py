"""A run under a person's hands: play, stop, step, reset, and knobs that turn meanwhile.

The page's thread writes down what is wanted; the scheduler's thread does it.  The newest
wish wins, and a run that was replaced shows nothing more.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from labkit.errors import refusal
from labkit.method import Method, check, fields, replace, resolve
from labkit.record import Record
from labkit.run import Run
from labkit.sweep import Sweep
from widgets.errors import told
from widgets.scheduler import Scheduler, scheduler


SLICE = 0.03  # seconds of work between two looks at what is wanted
FRAME = 0.05  # seconds between two pictures, at least
OPENING = 12  # rows to see before anybody has touched anything
ENDLESS = 2**31 - 2  # steps: until somebody stops it


class Player:
    """Plays a method.  `show(record, status)` draws; `ready()` says whether a page keeps up.

    `pace` is how many rows a second are seen at most, for an eye to follow (None: as many as
    there can be); a sweep knows no pace.  `pause(record)` looks at each row: where it gives a
    sentence the run waits, and says it; play and step go on from there.

    Raises ValueError when the method, or a later `turn`, is refused.
    """

    def __init__(
        self,
        method: Method,
        show: Callable[[Record | None, str], None],
        ready: Callable[[], bool] = lambda: True,
        *,
        steps: int | None = None,
        every: int = 1,
        seed: int = 0,
        limit: int = 1000,
        pace: float | None = 60.0,
        pause: Callable[[Record], str] | None = None,
        scheduler: Scheduler = scheduler,
    ):
        if pace is not None and not pace > 0:
            raise refusal("pace", pace, "rows a second, above 0, or None")
        natural = getattr(method, "steps", ENDLESS)
        self.steps = natural if steps is None else steps
        self.sweeps = isinstance(method, Sweep)  # seen whole, again at each turn
        self.opening = math.inf if self.sweeps else OPENING
        self.pace = math.inf if pace is None or self.sweeps else pace
        self.method, self.seed, self.every, self.limit = method, seed, every, limit
        self.scheduler, self._show, self._ready = scheduler, show, ready
        self._pause = pause
        self._lock = threading.RLock()
        self._wanted = 0  # the number of the run that is wanted
        self._rows = self.opening  # how many more of its rows
        self._held = False  # stopped by hand: only play, step and reset go on
        self._wishes = 0  # how often anything was wanted
        self._note = ""  # what stands in the way, if anything
        self._run, self._number, self._given = self._new_run(), 0, method
        self._compiled: set[Any] = set()
        self._compiling: set[Any] = set()
        self._speed, self._due = 0.0, 0.0  # steps a second, and when the next picture is due
        self._news = False  # rows that were not yet shown
        self._next = 0.0  # when the next row is due
        self._touched = threading.Event()
        scheduler.open(self)

    @property
    def record(self) -> Record:
        """What the present run has seen."""
        return self._run.record

    @property
    def playing(self) -> bool:
        """Whether more rows are wanted."""
        return self._rows > 0

    @property
    def status(self) -> str:
        """What a person should know, in a few words."""
        if self._note:
            return self._note
        if self._rows and jax.tree.structure(self.method) in self._compiling:
            return "compiling"
        if self._rows:
            return "running"
        if self._run.finished:
            events = self.record.events
            ended = events and events[-1].step == self._run.step  # not a knob turned before
            return events[-1].sentence if ended else "finished"
        return "stopped" if self._held else "ready"

    @property
    def progress(self) -> float | None:
        """The share of the run that is done, -1 while it compiles, None at rest or without end."""
        if not self._rows:
            return None
        if jax.tree.structure(self.method) in self._compiling:
            return -1.0
        if self.sweeps or self._run.end >= ENDLESS:
            return None
        return self._run.step / max(self._run.end, 1)

    @property
    def shown(self) -> bool:
        """Whether more than the opening rows were seen: something to compare with."""
        rows = len(self.record)
        return rows > 0 and (self.sweeps or self._run.finished or rows > self.opening)

    def begin(self) -> None:
        """See the first rows, or the whole of a sweep."""
        self._touch()

    def play(self) -> None:
        """Go on; from the start when the run had ended."""
        with self._lock:
            self._want(math.inf, anew=self._run.finished)
            self._held = False
        self._touch()

    def stop(self) -> None:
        """Stop now, whatever is under way; what was recorded stays."""
        with self._lock:
            self._rows, self._held, self._note = 0, True, ""
        self._touched.set()
        self._show(None, self.status)

    def step(self, rows: int = 1) -> None:
        """See `rows` rows more, and stop."""
        with self._lock:
            pending = self._rows if self._held else 0  # of steps asked for and not yet taken
            self._want(pending + rows)
            self._held = True
        self._touch()

    def reset(self, seed: int | None = None) -> None:
        """Back to the first rows, with another seed when one is given."""
        with self._lock:
            self.seed = self.seed if seed is None else seed
            self._want(self.opening, anew=True)
            self._held = False
        self._touch()

    def turn(self, changes: Mapping[str, Any]) -> bool:
        """Set fields by name: live knobs while the run goes on, others from its start.

        It plays afterwards, unless it was stopped by hand.  Returns whether it starts again.
        """
        with self._lock:
            changes = resolve(self.method, changes)
            method = replace(self.method, changes)
            check(method)
            known, before = fields(method), fields(self.method)
            for name, value in changes.items():
                shape = np.shape(before[name].value)
                if np.shape(value) != shape:
                    raise refusal(name, value, f"numbers in the shape {shape}")
            anew = self._run.finished or not all(known[name].live for name in changes)
            self.method = method
            rows = (self.opening if anew else 0) if self._held else math.inf
            self._want(rows, anew)
        self._touch()
        return anew

    def close(self) -> None:
        """No slice, and no picture, from now on."""
        with self._lock:
            self._rows, self._wanted = 0, -1
        self._touched.set()
        self.scheduler.close(self)

    def _touch(self) -> None:
        self._touched.set()
        self.scheduler.touch(self)

    def _want(self, rows: float, anew: bool = False) -> None:
        self._rows, self._note = rows, ""
        self._wanted += anew
        self._wishes += 1

    # From here on: the scheduler's thread.

    def work(self) -> bool:
        """A slice of the run that is wanted."""
        with self._lock:
            wanted, method, rows, wishes = self._wanted, self.method, self._rows, self._wishes
            if wanted == -1:
                return False
            if wanted != self._number:
                self._run, self._number = self._new_run(), wanted
                self._given, self._next = method, 0.0
            elif method is not self._given:
                self._run.turn(method)
                self._given = method
            run = self._run
        structure = jax.tree.structure(method)
        if structure not in self._compiled:
            self._compile(run, structure, wanted)
            return False
        if not rows or run.finished:
            return self._end()
        self._touched.clear()
        early = self._next - time.perf_counter()
        if early > 0 and self._touched.wait(min(early, FRAME)) | (early > FRAME):
            return True  # touched, or too early still: others may have work meanwhile
        began, before = time.perf_counter(), run.step
        self._next = began
        steps = self._speed * SLICE
        # No more than thins the record once: a row after that takes twice the time.
        most = steps / run.every, self.pace * FRAME, self.limit / 2
        few = 1 if self._pause else int(min(rows, *(max(1, few) for few in most)))
        # The rows of a long run lie far apart: then a slice ends between them.
        walked = run.next - before > 2 * steps and run.walk(steps)
        seen = 0 if walked else run.advance(few)
        why = self._pause(run.record) if self._pause and seen else ""
        if run.step > before:
            self._speed = (run.step - before) / max(time.perf_counter() - began, 1e-6)
        self._news |= seen > 0
        self._next = began + seen / self.pace
        with self._lock:
            if self._wanted != wanted:
                return True  # another run is wanted by now
            if run.finished and self.method is not method:  # turned a moment too late for this run
                self._wanted, self._rows = self._wanted + 1, self._rows or self.opening
                return True
            if run.finished:
                self._rows = 0
            elif self._wishes == wishes:
                self._rows = max(0, self._rows - seen)
                if why:  # as if stopped by hand: a knob may be turned before it goes on
                    self._rows, self._held, self._note = 0, True, why
            more = self._rows > 0
        if not more:
            return self._end()
        if self._news and time.monotonic() >= self._due and self._ready():
            self._news, self._due = False, time.monotonic() + FRAME
            self._show(run.record, self.status)
        return True

    def rest(self) -> None:
        """Another widget plays: pause, but see the first rows when its turn is over."""
        with self._lock:
            if self._rows < math.inf or self.sweeps:
                return
            self._rows, self._note = 0, "paused while another widget runs"
        self._touched.set()
        self._show(None, self.status)

    def fail(self, error: Exception) -> None:
        """Say what went wrong; the next touch starts again."""
        with self._lock:
            self._rows, self._note = 0, told(error)
            self._wanted += 1
        self._show(None, self.status)

    def _end(self) -> bool:
        with self._lock:
            self._rows = 0
            record = self._run.record
        self._show(record if len(record) else None, self.status)
        return False

    def _new_run(self) -> Run:
        return Run(self.method, self.steps, key=self.seed, every=self.every, limit=self.limit)

    def _compile(self, run: Run, structure: Any, wanted: int) -> None:
        """Compile beside everything else; the run goes on when that is done, if still wanted."""
        if structure in self._compiling:
            return

        def compile():
            try:
                run.compile()
            except Exception as error:
                if self._wanted == wanted:  # else nobody waits for this program any more
                    self.fail(error)
            else:
                self._compiled.add(structure)
                few = self._rows < math.inf  # the first rows, which no other run may hold up
                self.scheduler.touch(self, first=few, by_hand=False)
            finally:
                self._compiling.discard(structure)

        self._compiling.add(structure)
        # No daemon: to end the process inside the compiler would crash it.
        threading.Thread(target=compile, name="labkit compile", daemon=False).start()
        self._show(None, self.status)
