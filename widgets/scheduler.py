"""One thread a process, which lets one task work at a time: the one last touched.

A run never lives in a notebook cell: while a cell blocks, no slider event arrives.  Tasks
work in slices of a few hundredths of a second; what a person does meanwhile is seen at
the next slice.
"""

import atexit
import threading
from typing import Protocol


class Task(Protocol):
    """Something to work at in slices."""

    def work(self) -> bool:
        """Do a slice; False when there is nothing more to do until the next touch."""
        ...

    def rest(self) -> None:
        """Another task was touched, and works first from now on."""
        ...

    def fail(self, error: Exception) -> None:
        """`work` raised this."""
        ...


class Scheduler:
    """Gives its thread to the task touched last; the thread ends with the last task."""

    def __init__(self):
        self._changed = threading.Condition()
        self._open: dict[Task, int] = {}  # how often each was touched
        self._queue: list[Task] = []  # the first works
        self._thread: threading.Thread | None = None

    def open(self, task: Task) -> None:
        """Let a task take part."""
        with self._changed:
            self._open[task] = 0

    def close(self, task: Task) -> None:
        """Take a task out; it gets no further slice."""
        with self._changed:
            self._open.pop(task, None)
            if task in self._queue:
                self._queue.remove(task)
            self._changed.notify_all()

    def touch(self, task: Task, *, first: bool = True, by_hand: bool = True) -> None:
        """Let `task` work: before all others, or after them.

        What a person touches takes the place of the task that worked; any other goes before
        it without its being told to rest.
        """
        with self._changed:
            if task not in self._open:
                return
            before = self._queue[0] if self._queue else None
            self._open[task] += 1
            if first and task in self._queue:
                self._queue.remove(task)
            if task not in self._queue:
                self._queue.insert(0 if first else len(self._queue), task)
            displaced = before is not None and before is not self._queue[0]
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="labkit", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if displaced and by_hand:
            before.rest()

    def end(self) -> None:
        """Close every task, and wait for the slice that is under way."""
        with self._changed:
            self._open.clear()
            self._queue.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    def _loop(self) -> None:
        while True:
            with self._changed:
                while self._open and not self._queue:
                    self._changed.wait()
                if not self._open:
                    self._thread = None
                    return
                task = self._queue[0]
                touches = self._open[task]
            try:
                more = task.work()
            except Exception as error:
                task.fail(error)
                more = False
            with self._changed:
                # A touch during the slice asks for another one.
                if not more and self._open.get(task) == touches and task in self._queue:
                    self._queue.remove(task)


scheduler = Scheduler()
atexit.register(scheduler.end)  # a process must not end inside a compiled step
