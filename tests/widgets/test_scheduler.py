"""One thread for all: who works, who waits, and when it ends."""

import threading
import time

import pytest

from widgets.scheduler import Scheduler


class Task:
    """Works `slices` slices and writes its name into the log at each."""

    def __init__(self, name, log, slices=10**9):
        self.name, self.log, self.left = name, log, slices
        self.rested, self.failed = 0, []

    def work(self):
        self.log.append(self.name)
        time.sleep(0.001)
        self.left -= 1
        return self.left > 0

    def rest(self):
        self.rested += 1

    def fail(self, error):
        self.failed.append(error)


class Failing(Task):
    def work(self):
        super().work()
        raise ValueError("no")


class Waiting(Task):
    """Waits in its slice until it is let go."""

    def __init__(self, name, log):
        super().__init__(name, log, slices=1)
        self.inside, self.go = threading.Event(), threading.Event()

    def work(self):
        self.inside.set()
        assert self.go.wait(10)
        return super().work()


def until(holds, seconds=10.0):
    """Wait for something that happens in the other thread."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("labkit")]


@pytest.fixture
def scheduler():
    made = Scheduler()
    yield made
    made.end()


@pytest.fixture
def log():
    return []


def opened(scheduler, *tasks):
    for task in tasks:
        scheduler.open(task)
    return tasks


def test_the_task_touched_last_works_first(scheduler, log):
    one, other = opened(scheduler, Task("one", log), Task("other", log, slices=5))
    scheduler.touch(one)
    until(lambda: len(log) > 3)
    scheduler.touch(other)
    until(lambda: other.left == 0)
    first = log.index("other")
    assert log[first : first + 5] == ["other"] * 5
    until(lambda: log[-1] == "one")  # and then it is the first one's turn again
    assert (one.rested, other.rested) == (1, 0)


def test_what_is_not_touched_by_hand_goes_before_without_a_rest(scheduler, log):
    one, other = opened(scheduler, Task("one", log), Task("other", log, slices=5))
    scheduler.touch(one)
    until(lambda: len(log) > 3)
    scheduler.touch(other, by_hand=False)
    until(lambda: other.left == 0)
    assert one.rested == 0


def test_a_task_may_also_line_up_behind_the_others(scheduler, log):
    one, other = opened(scheduler, Task("one", log, slices=20), Task("other", log, slices=1))
    scheduler.touch(one)
    scheduler.touch(other, first=False)
    until(lambda: other.left == 0)
    assert log == ["one"] * 20 + ["other"]
    assert one.rested == 0


def test_every_task_has_its_turn(scheduler, log):
    tasks = opened(scheduler, *[Task(str(i), log, slices=3) for i in range(5)])
    for task in tasks:
        scheduler.touch(task)
    until(lambda: all(task.left == 0 for task in tasks))


def test_a_touch_during_a_slice_asks_for_another(scheduler, log):
    (task,) = opened(scheduler, Waiting("it", log))
    scheduler.touch(task)
    assert task.inside.wait(10)
    scheduler.touch(task)
    task.go.set()
    until(lambda: log == ["it", "it"])


def test_an_error_is_told_to_its_task_and_the_others_go_on(scheduler, log):
    bad, good = opened(scheduler, Failing("bad", log), Task("good", log, slices=3))
    scheduler.touch(good)
    scheduler.touch(bad)
    until(lambda: good.left == 0 and bad.failed)
    assert [str(error) for error in bad.failed] == ["no"]
    scheduler.touch(bad)
    until(lambda: len(bad.failed) == 2)


def test_a_closed_task_gets_no_further_slice(scheduler, log):
    gone, stays = opened(scheduler, Task("gone", log), Task("stays", log))
    scheduler.touch(gone)
    until(lambda: log)
    scheduler.close(gone)
    scheduler.touch(gone)
    scheduler.touch(stays)
    until(lambda: log[-1] == "stays")
    count = log.count("gone")
    time.sleep(0.05)
    assert log.count("gone") == count


def test_the_thread_ends_with_the_last_task_and_comes_back_with_the_next(log):
    scheduler, before = Scheduler(), threads()
    for _ in range(2):
        (task,) = opened(scheduler, Task("it", log))
        scheduler.touch(task)
        until(lambda: len(threads()) == len(before) + 1)
        scheduler.close(task)
        until(lambda: threads() == before)


def test_the_end_waits_for_the_slice_that_is_under_way(log):
    scheduler = Scheduler()
    (task,) = opened(scheduler, Waiting("it", log))
    scheduler.touch(task)
    assert task.inside.wait(10)
    threading.Timer(0.1, task.go.set).start()
    scheduler.end()
    assert log == ["it"]


def test_a_hundred_tasks_opened_and_closed_leave_no_thread(log):
    scheduler, before = Scheduler(), threads()
    for i in range(100):
        (task,) = opened(scheduler, Task(str(i), log))
        scheduler.touch(task)
        scheduler.close(task)
    until(lambda: threads() == before)
