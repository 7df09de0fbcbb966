"""The lab for those who use no mouse, or no eyes: keys, names, and what is spoken."""

import textwrap
from pathlib import Path

import board
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.test_lab import DESCENT, EDGE


BOARD = Path(board.__file__).read_text(encoding="utf-8") + "\nfrom widgets import Explorer"
HANDS = BOARD + "\nexplorer = Explorer(board(), views); explorer"

pytestmark = pytest.mark.browser


def named(widget, name):
    """What stands in the part of a figure with this class."""
    return widget.view.locator(f".{name}").first.text_content()


def press(bench, *keys):
    """Press these keys, one after the other."""
    for key in keys:
        bench.page.keyboard.press(key)


def test_a_point_is_moved_with_the_arrows_and_it_is_said_where_it_is(bench, keep_picture):
    widget = bench.show(DESCENT)
    widget.settle()
    handle = widget.view.locator(".labkit-handle").first
    assert handle.get_attribute("aria-label") == "problem.w0: point 1 of 1 at (-0.5, -1)"
    handle.focus()
    press(bench, "ArrowRight", "ArrowUp", "ArrowUp", "Shift+ArrowUp")  # no need to wait for each
    start = lambda: bench.ask("explorer.method.problem.w0.tolist()")
    # A step is a fiftieth of the axis, from -5 to 5, and with Shift a tenth of that.
    widget.wait_until(lambda: start() == "[-0.3, -0.58]", "the start moves")
    at = "point 1 of 1 at (-0.3, -0.58)"
    widget.wait_until(lambda: at in named(widget, "labkit-news"), "it is said")
    keep_picture(bench.page, "point-under-the-keyboard")
    press(bench, *["ArrowLeft"] * 60)
    edge = lambda: float(start().strip("[]").split(",")[0])
    widget.wait_until(lambda: edge() == -5.0, "it stops at the end of its axis")


def test_cells_are_painted_with_keys(bench, keep_picture):
    widget = bench.show(HANDS)
    widget.settle()
    painted = lambda: np.argwhere(widget.arrays()[0, "z"]).tolist()
    widget.view.locator(".labkit-handle").nth(0).focus()
    press(bench, "ArrowUp", "ArrowRight", "ArrowDown", "ArrowUp", " ")
    widget.wait_until(lambda: painted() == [[1, 1]], "a cell is painted")
    press(bench, "Shift+ArrowRight", "Shift+ArrowRight")
    widget.wait_until(lambda: painted() == [[1, 1], [1, 2], [1, 3]], "two more are")
    says = "row 2 of 4, column 4 of 6, painted"
    widget.wait_until(lambda: says in named(widget, "labkit-tip").lower(), "it is said")
    keep_picture(bench.page, "cells-under-the-keyboard")
    press(bench, "ArrowLeft", "Enter")
    widget.wait_until(lambda: painted() == [[1, 1], [1, 3]], "one is erased")
    press(bench, "End", "ArrowRight", "ArrowUp", " ")
    widget.wait_until(lambda: painted()[-1] == [3, 5], "the last cell is where the keys stop")


def test_nodes_are_joined_with_keys(bench, keep_picture):
    widget = bench.show(HANDS)
    widget.settle()
    handle = widget.view.locator(".labkit-handle").nth(1)
    nodes = max(trace for trace, _ in widget.arrays())
    places = widget.arrays()[nodes, "x"]
    joined = lambda: widget.arrays().get((nodes - 1, "x"), np.zeros(0))[:2].tolist()
    handle.focus()
    press(bench, "Enter", "PageDown", "PageDown")
    assert "from node 1 to node 3 of 5" in named(widget, "labkit-news")
    keep_picture(bench.page, "nodes-under-the-keyboard")
    press(bench, "Escape")
    assert "from node" not in named(widget, "labkit-news")
    press(bench, "Enter", "Home", "Enter")
    both = [places[0], places[2]]
    widget.wait_until(lambda: joined() == both, "nodes 1 and 3 are joined")
    widget.settle()
    press(bench, "Enter", "Shift+Tab", "Tab", "End")  # who leaves the figure lets go
    assert "node 5 of 5" in named(widget, "labkit-news")
    assert "from node" not in named(widget, "labkit-news")


def test_a_plane_is_moved_and_zoomed_with_keys(bench, keep_picture):
    widget = bench.show(DESCENT)
    widget.settle()
    ends = lambda: np.array(
        widget._plot("el => [el._fullLayout.xaxis2, el._fullLayout.yaxis2].map(a => a.range)")
    )
    first = ends()
    size = np.diff(first)
    handle = widget.view.locator(".labkit-handle").nth(2)  # the first moves the start
    assert handle.get_attribute("aria-label") == "panel 2 of 2: loss over step"
    handle.focus()
    press(bench, "ArrowRight", "ArrowRight", "ArrowUp")  # no need to wait for each
    moved = lambda way: np.allclose(ends(), first + size * way, rtol=1e-6)
    widget.wait_until(lambda: moved([[0.2], [0.1]]), "it is moved")
    keep_picture(bench.page, "plane-under-the-keyboard")
    press(bench, "+", "-", "-")
    apart = lambda: np.allclose(np.diff(ends()), size / 0.8, rtol=1e-6)
    widget.wait_until(apart, "it is zoomed")
    press(bench, "0")
    widget.wait_until(lambda: moved(0.0), "all is shown again")


def test_a_view_in_space_is_turned_with_keys(bench, keep_picture):
    code = "from labkit.landscapes import loss_slice\n"
    code += "explorer = Explorer(loss_slice.example(), loss_slice.views[1:2]); explorer"
    widget = bench.show(code)
    widget.settle()
    eye = lambda: np.array(
        widget._plot("el => ['x', 'y', 'z'].map(a => el._fullLayout.scene.camera.eye[a])")
    )
    x, y, z = first = eye()
    widget.view.locator(".labkit-handle").focus()
    press(bench, "ArrowRight", "ArrowRight", "ArrowUp")
    turn, flat = np.pi / 36, np.hypot(x, y)
    round_, up = np.arctan2(y, x) + 2 * turn, np.arctan2(z, flat) + turn
    away = np.linalg.norm(first)
    there = away * np.array([np.cos(up) * np.cos(round_), np.cos(up) * np.sin(round_), np.sin(up)])
    widget.wait_until(lambda: np.allclose(eye(), there, atol=1e-3), "it is turned")
    keep_picture(bench.page, "space-under-the-keyboard")
    press(bench, "+")
    widget.wait_until(lambda: np.allclose(eye(), there / 1.25, atol=1e-3), "it comes closer")
    press(bench, "0")
    widget.wait_until(lambda: np.allclose(eye(), first, atol=1e-3), "it is turned back")


def test_a_curve_is_hidden_with_keys(bench, keep_picture):
    widget = bench.show(EDGE)
    widget.settle()
    seen = lambda: widget._plot(
        "el => el._fullData.filter(t => t.visible === true).map(t => t.name)"
    )
    entries = widget.view.get_by_role("switch")
    before, at = seen(), entries.nth(1)
    assert entries.evaluate_all("all => all.map(each => each.tabIndex)")[:2] == [0, -1]
    name = at.get_attribute("aria-label").removeprefix("curve ")
    assert at.get_attribute("aria-checked") == "true"
    entries.nth(0).focus()
    press(bench, "ArrowDown", "Enter")  # from entry to entry
    widget.wait_until(lambda: at.get_attribute("aria-checked") == "false", "it is switched off")
    assert sorted(set(before) - set(seen())) == [name]
    keep_picture(bench.page, "curve-hidden-with-keys")
    bench.page.wait_for_timeout(400)  # or it would be a double click
    press(bench, " ")
    widget.wait_until(lambda: seen() == before, "it is back")
    assert at.get_attribute("aria-checked") == "true"


def test_what_is_said_is_said_at_rest(bench):
    widget = bench.show(EDGE)
    widget.settle()
    widget.view.evaluate(
        "el => { window.heard = []; for (const name of ['labkit-news', 'labkit-spoken']) {"
        " const part = el.querySelector('.' + name);"
        " new MutationObserver(() => heard.push([name, part.textContent]))"
        ".observe(part, {childList: true, subtree: true}); } }"
    )
    before = widget.seq
    widget.press("play")
    widget.wait_until(lambda: "running" in named(widget, "labkit-news"), "a run is announced")
    widget.wait_until(lambda: widget.seq > before + 5, "it goes on")
    busy = widget.place.locator(".labkit-status [aria-busy=true]")  # nothing is told meanwhile
    assert busy.count() == 1
    widget.press("play")  # which says Stop now
    widget.wait_until(lambda: "stopped" in named(widget, "labkit-news"), "its end is, too")
    widget.wait_until(lambda: named(widget, "labkit-spoken") == widget.words, "and where it stands")
    assert busy.count() == 0
    heard = bench.page.evaluate("() => window.heard")
    assert [text for name, text in heard if name == "labkit-news"] == ["running", "stopped"]
    assert [text for name, text in heard if name == "labkit-spoken"] == [widget.words]
    bench.ask("explorer.turn(lr=-1)")
    widget.wait_until(
        lambda: "lr = -1 is refused" in named(widget, "labkit-news"), "a refusal is said"
    )


def test_axe_finds_nothing_serious_in_either_theme(lab, keep_picture):
    several = """
        from labkit.dynamics import edge_of_stability
        from labkit.landscapes import loss_slice, surface_descent
        refused = Explorer(edge_of_stability.example(), edge_of_stability.views)
        point = Explorer(surface_descent.example(), surface_descent.views)
        space = Explorer(loss_slice.example(), loss_slice.views[1:2])
        hands = Explorer(board(), views)
    """
    several = BOARD + "\n" + textwrap.dedent(several)
    with lab.open("access.ipynb", several, "refused", "point", "hands", "space") as notebook:
        notebook.run_all()
        refused, point, hands, space = (notebook.widget(index) for index in range(4))
        notebook.ask("refused.turn(lr=-1)")
        refused.wait_until(lambda: "is refused" in refused.status, "something is refused")
        hands.view.locator(".labkit-handle").first.focus()
        space.settle()
        ground = lambda: point._plot("el => el._fullLayout.paper_bgcolor")
        light = ground()
        assert_accessible(notebook.page)
        notebook.command("apputils:change-theme", theme="JupyterLab Dark")
        point.wait_until(lambda: ground() != light, "it turns dark")
        assert_accessible(notebook.page)
        keep_picture(notebook.page, "dark-and-refused")
        notebook.command("apputils:change-theme", theme="JupyterLab Light")
        assert not notebook.complaints()
        assert not notebook.errors


def assert_accessible(page):
    """No rule of axe-core is broken with impact serious or critical, in any widget of the page."""
    response = Axe().run(page, ".labkit-explorer").response
    passed = {rule["id"] for rule in response["passes"]}
    assert passed >= {"aria-input-field-name", "button-name", "color-contrast", "label"}
    bad = [rule for rule in response["violations"] if rule["impact"] in ("serious", "critical")]
    assert not bad, [(rule["id"], [node["html"][:300] for node in rule["nodes"]]) for rule in bad]
