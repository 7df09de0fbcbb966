"""One JupyterLab and one browser for all of these tests."""

import os
from pathlib import Path

import pytest
from browser.lab import Lab, chromium

from labkit.render.look import THEMES


SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


@pytest.fixture(scope="session")
def lab():
    """The running lab.  Without a browser: a failure in CI, elsewhere a sentence."""
    if chromium() is None:
        missing = "no Chromium was found, so the lab was not tried in a browser"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def bench(lab):
    """A notebook to try widgets in: `bench.show("explorer = ...")`."""
    imports = """
        import threading, time
        from labkit import *
        from labkit.dynamics import edge_of_stability
        from labkit.landscapes import surface_descent
        from labkit.problems import digits_network, Surface
        from labkit.relaxations import soft_sort
        from widgets import Explorer
        from widgets.scheduler import scheduler
    """
    with lab.open("bench.ipynb", "\n".join(map(str.strip, imports.splitlines()))) as notebook:
        notebook.run_all()
        yield notebook
        assert not notebook.complaints()
        assert not notebook.failed
        assert not notebook.errors


@pytest.fixture(autouse=True)
def tidy(request):
    """Leave a picture of the page behind, and no widget."""
    yield
    if "bench" in request.fixturenames:
        bench = request.getfixturevalue("bench")
        picture(bench.page, request.node.name)
        bench.ask("[explorer.close() for explorer in [globals().get('explorer')] if explorer]")


def picture(page, name):
    """Keep a screenshot, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate(
        "() => [...document.querySelectorAll('.labkit-explorer')].pop()?.scrollIntoView()"
    )
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def pictures(notebook, name):
    """Keep the whole notebook in both themes, a screen at a time, to be looked at."""
    page = notebook.page
    sheet = page.locator(".jp-NotebookPanel-notebook .jp-WindowedPanel-outer")
    for theme, colors in THEMES.items():
        folder = SCREENSHOTS / theme
        folder.mkdir(parents=True, exist_ok=True)
        notebook.command("apputils:change-theme", theme=f"JupyterLab {theme.title()}")
        sheet.evaluate("el => el.scrollTo(0, 0)")
        page.wait_for_function(
            "color => [...document.querySelectorAll('.labkit-live .js-plotly-plot')]"
            ".every(el => el._fullLayout.paper_bgcolor === color)",
            arg=colors.background,
        )
        page.mouse.move(0, 0)  # no buttons of a figure that the pointer rests on
        high, whole = sheet.evaluate("el => [el.clientHeight, el.scrollHeight]")
        for number in range(-(-whole // high)):
            sheet.evaluate("(el, top) => el.scrollTo(0, top)", number * high)
            page.wait_for_timeout(150)
            sheet.screenshot(path=folder / f"{name}-{number + 1:02}.png")
    notebook.command("apputils:change-theme", theme="JupyterLab Light")


@pytest.fixture
def keep_pictures():
    """`keep_pictures(notebook, name)` keeps the whole of it under build/screenshots."""
    return pictures


@pytest.fixture
def keep_picture():
    """`keep_picture(page, name)` keeps a screenshot under build/screenshots."""
    return picture
