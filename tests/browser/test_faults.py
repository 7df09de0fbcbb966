"""What goes wrong around a page: a kernel that dies, a page that leaves, a second one."""

import os
import signal

import pytest


pytestmark = pytest.mark.browser

CELL = """import os
from labkit.dynamics import edge_of_stability
from widgets import Explorer
explorer = Explorer(edge_of_stability.example(), edge_of_stability.views, every=2, pace=None)
explorer"""
ENDED = "The kernel has ended, and what ran in it. Run the cell again."


@pytest.fixture
def playing(lab, keep_picture, request):
    """A notebook with one Explorer in mid-run."""
    with lab.open("faults.ipynb", CELL) as notebook:
        notebook.run_all()
        widget = notebook.widget()
        plays(widget)
        yield notebook
        keep_picture(notebook.page, request.node.name)


def plays(widget):
    """Let it play, if it does not, and see that it does."""
    before = widget.seq
    if widget.status != "running":
        widget.press("play")
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


@pytest.mark.parametrize("end", [killed, restarted])
def test_a_kernel_that_ended_is_said_and_the_cell_can_be_run_again(playing, keep_picture, end):
    widget = playing.widget()
    end(playing)
    widget.wait_until(lambda: says(widget) == ENDED, "it says so")
    keep_picture(playing.page, f"{end.__name__} kernel")
    playing.page.set_viewport_size({"width": 1000, "height": 1000})  # what is drawn anew
    playing.page.wait_for_timeout(1000)
    assert says(widget) == ENDED
    playing.wait_for_kernel()
    for answer in playing.page.locator(".jp-Dialog button").all():
        answer.click()  # JupyterLab says it too, of a kernel that died
    playing.run_all()
    assert playing.widgets == 1
    widget = playing.widget()
    plays(widget)
    assert says(widget) == ""
    assert not playing.complaints()


def test_a_page_that_comes_back_and_a_second_one_draw_the_run_and_both_turn_it(playing):
    first = playing.widget()
    with playing.twin() as twin:
        second = twin.widget()
        plays(second)  # it has played all the while
        second.press("play")  # which is Stop now
        first.wait_until(lambda: first.status == "stopped", "the first page says so")
        steps = len(first.curve("threshold")[0])
        second.wait_until(lambda: len(second.curve("threshold")[0]) == steps, "the same picture")
        second.key("lr", times=4)
        lr = second.value("lr", log=True)
        for widget in (first, second):
            threshold = lambda widget=widget: widget.curve("threshold")[1][-1]
            first.press("step") if widget is first else second.press("step")
            widget.wait_until(lambda: abs(threshold() * lr / 2 - 1) < 1e-3, "it follows")
        assert not twin.errors
    playing.page.goto("about:blank")  # nobody looks any more
    playing.visit()
    widget = playing.widget()
    plays(widget)
    assert not playing.errors
