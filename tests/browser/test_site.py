"""The static pages and a recorded figure, opened without a kernel and without a network."""

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.landscapes import surface_descent
from widgets import Explorer


BUILD = Path(__file__).parents[2] / "docs" / "site" / "build.py"
FIRST = [
    new_markdown_cell("# First page\n\nA formula, $\\sigma(x) = \\frac{1}{1 + e^{-x}}$, in words."),
    new_code_cell(
        "from labkit.landscapes import surface_descent as m\nfrom widgets import Explorer\n"
        "Explorer(m.example(), m.views, say=m.say, steps=60)"
    ),
    new_markdown_cell('<a id="F004"></a>\n<a id="F005"></a>\n<a id="F006"></a>\n\n## Three papers'),
]
SECOND = [
    new_markdown_cell("# Second page\n\nBack to [the first](00_start_here.ipynb), with zebras."),
    new_code_cell("# Exercise: two\n### BEGIN SOLUTION\nx = 2\n### END SOLUTION"),
]

LONGEST = (  # points of a line in the picture
    "Math.max(...document.querySelector('.labkit-figure').data"
    ".filter(t => t.type === 'scatter').map(t => t.x.length))"
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name, cells in {"00_start_here": FIRST, "1_second": SECOND}.items():
        path = folder / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=cells), path)
    made = folder / "build" / "site"
    command = [sys.executable, str(BUILD), "--source", str(folder / "notebooks")]
    ran = subprocess.run([*command, "--output", str(made)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return made


@pytest.fixture(params=["file", "server"])
def address(request, site):
    """Where the pages are, without the last slash."""
    if request.param == "file":
        yield site.as_uri()
        return

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def reader(lab):
    """`reader(theme, width)` is a page; at the end nothing in it may have gone wrong."""
    wrong, contexts = [], []

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # as when a page is left while it loads
            wrong.append(f"{request.url}: {request.failure}")

    def open_page(theme="light", width=1000):
        context = lab.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("requestfailed", failed)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def drawn(page):
    """The figure, once it is drawn."""
    page.locator(".labkit-recorded").first.scroll_into_view_if_needed()
    page.wait_for_selector(".labkit-live[data-seq]:not(.labkit-waiting)")
    return page.locator(".labkit-figure").first


def assert_keys_move_the_picture(page):
    drawn(page)
    before, words = page.evaluate(f"() => {LONGEST}"), page.locator(".labkit-words").inner_text()
    slider = page.locator(".labkit-reel input")
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_function(
        "before => document.querySelector('.labkit-words').textContent !== before", arg=words
    )
    page.wait_for_function(f"() => {LONGEST} < {before}")
    assert slider.get_attribute("aria-valuetext") == "step 0"
    page.keyboard.press("End")
    page.wait_for_function(
        "w => document.querySelector('.labkit-words').textContent === w", arg=words
    )
    page.wait_for_function(f"() => {LONGEST} === {before}")


def test_the_pages_are_whole_without_a_network(address, reader, keep_picture):
    page = reader()
    page.goto(f"{address}/index.html")
    page.get_by_role("link", name="Begin here").click()
    assert page.locator("h1").first.inner_text().startswith("First page")
    formula = page.locator("math mfrac")
    assert formula.first.bounding_box()["height"] > 10  # typeset, not written out
    assert_keys_move_the_picture(page)
    keep_picture(page, f"site-{address.partition(':')[0]}")
    page.locator(".next-page, .right-next").first.click()
    assert page.locator("h1").first.inner_text().startswith("Second page")
    assert "x = 2" not in page.content()
    page.goto(f"{address}/papers.html")
    page.get_by_label("search the papers").fill("softsort")
    shown = page.locator("#the-papers tbody tr:visible")
    assert 0 < shown.count() < 5
    shown.get_by_role("link").first.click()
    assert page.url.lower().endswith("notebooks/00_start_here.html#f004")
    page.goto(f"{address}/search.html?q=zebras")
    page.locator("#search-results a", has_text="Second page").first.wait_for()


def test_the_pages_are_dark_and_narrow_for_who_wants_them_so(site, reader, keep_picture):
    page = reader("dark", 360)
    page.goto(f"{site.as_uri()}/notebooks/00_start_here.html")
    figure = drawn(page)
    paper = figure.evaluate("el => el.layout.paper_bgcolor")
    assert paper != "#ffffff"
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    keep_picture(page, "site-dark-360")
    page.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
    page.wait_for_function(
        "old => document.querySelector('.labkit-figure').layout.paper_bgcolor !== old", arg=paper
    )


def test_a_written_page_plays_by_itself(tmp_path, reader, keep_picture):
    explorer = Explorer(
        surface_descent.example(), surface_descent.views, say=surface_descent.say, steps=40
    )
    path = explorer.to_html(tmp_path / "descent.html")
    explorer.close()
    page = reader("dark")
    page.goto(path.as_uri())
    assert_keys_move_the_picture(page)
    page.evaluate(
        "() => { const label = document.querySelector('output'); window.labels = [];"
        " new MutationObserver(() => window.labels.push(label.textContent))"
        ".observe(label, {childList: true}); }"
    )
    page.get_by_role("button", name="Play").click()  # at its end: from the start
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Play").wait_for()  # it came to the end
    assert page.evaluate("() => window.labels") == [f"step {step}" for step in range(41)]
    keep_picture(page, "to-html")
