"""What goes wrong around a page: a kernel that dies, a page that leaves, a second one."""

import os
import signal

import pytest


pytestmark = pytest.mark.browser

CELL = """from labkit import Descent, Sgd
from labkit.problems import Quadratic
from labkit.views import lines
from widgets import Explorer
explorer = Explorer(Descent(Quadratic([1.0, 0.1]), Sgd(0.01)), [lines("loss")], pace=None)
explorer"""
ENDED = "The kernel has ended, and what ran in it. Run the cell again."


@pytest.fixture
def playing(lab, keep_picture, request):
    """A notebook with one Explorer in mid-run."""
    with lab.open("faults.ipynb", CELL) as notebook:
        notebook.run_all()
        start(notebook.widget())
        notebook.save()  # another page, or the same one anew, shows what stands in the file
        yield notebook
        keep_picture(notebook.page, request.node.name)


def start(widget):
    """Let it play, and see that it does."""
    widget.settle()
    widget.press("play")
    plays(widget)


def plays(widget):
    """Wait for some pictures more."""
    before = widget.seq
    widget.wait_until(lambda: widget.seq > before + 3, "it plays")


def says(widget):
    """What stands over the figure."""
    note = widget.view.locator(".labkit-note")
    return note.inner_text() if note.is_visible() else ""


def killed(notebook):
    os.kill(int(notebook.ask("__import__('os').getpid()")), signal.SIGKILL)


def restarted(notebook):
    notebook.page.evaluate(
        "() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )


def test_a_kernel_that_ended_is_said_and_the_cell_can_be_run_again(playing, keep_picture):
    for end in (killed, restarted):
        widget = playing.widget()
        end(playing)
        widget.wait_until(lambda: says(playing.widget()) == ENDED, "it says so")
        keep_picture(playing.page, f"{end.__name__} kernel")
        playing.wait_for_kernel()
        for answer in playing.page.locator(".jp-Dialog button").all():
            answer.click()  # JupyterLab says it too, of a kernel that died
        assert says(widget) == ENDED
        playing.run_all()
        assert playing.widgets == 1
        start(playing.widget())
        assert says(playing.widget()) == ""
    assert not playing.complaints()


def test_two_pages_draw_one_run_and_both_turn_it_and_so_does_one_that_comes_back(playing):
    first = playing.widget()
    at = lambda widget: widget.value("lr", log=True)
    with playing.twin() as twin:
        second = twin.widget()
        plays(second)  # it has played all the while
        second.press("play")  # which is Stop now
        first.wait_until(lambda: first.status == "stopped", "the first page says so")
        for one, other in ((second, first), (first, second)):
            one.key("lr", times=4)
            same = lambda: at(first) == pytest.approx(at(second), rel=1e-6)
            other.wait_until(same, "its slider follows")
            said = float(playing.ask("explorer.method.rule.lr"))
            assert said == pytest.approx(at(first), rel=1e-6)
            assert said != pytest.approx(0.01)
        steps = lambda widget: widget.curve("loss")[0][-1]
        before = steps(first)
        first.press("play")
        second.wait_until(lambda: steps(second) > before, "the second page draws it too")
        assert not twin.errors
    playing.page.goto("about:blank")  # nobody looks any more
    playing.visit()
    plays(playing.widget())
    assert not playing.errors
