"""The real JupyterLab in a real browser, for tests and benchmarks.

One server and one browser serve a session; each notebook gets a page and a kernel of its own.
Neither sees the settings of the person who runs it, and the page reaches no network.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from playwright.sync_api import Locator, Page, Request, sync_playwright


ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 90.0  # seconds: generous, since a machine may be busy and nothing compiled yet

# All cells stay in the page; nothing asks a question or saves by itself.  A saved notebook holds
# the state of its widgets, as some people have it.
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}


def chromium() -> str | None:
    """Where a Chromium is, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Lab:
    """JupyterLab, served from a copy of the notebooks, and a browser that looks at it.

    `environment` is added to what the kernels see.  Use it in a `with`: it stops what it started.
    """

    def __init__(self, **environment: str):
        self._stack = contextlib.ExitStack()
        self._environment = environment
        self.folder = Path()  # of the notebooks
        self.url = self.token = ""
        self.seconds_to_serve = 0.0  # from the command until it answers

    def __enter__(self) -> "Lab":
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labkit-")))
            self.folder = home / "notebooks"
            leave_out = shutil.ignore_patterns(".ipynb_checkpoints")
            shutil.copytree(ROOT / "notebooks", self.folder, ignore=leave_out)
            play = stack.enter_context(sync_playwright())
            flags = [
                "--disable-dev-shm-usage",  # a container has little of it
                "--use-angle=swiftshader",  # the same pictures with and without a GPU
                "--enable-unsafe-swiftshader",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                *["--no-sandbox"] * (hasattr(os, "getuid") and os.getuid() == 0),
            ]
            self.browser = play.chromium.launch(executable_path=chromium(), args=flags)
            stack.callback(self.browser.close)
            began = time.perf_counter()
            stack.enter_context(self._server(home))
            self.seconds_to_serve = time.perf_counter() - began
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _server(self, home: Path) -> Iterator[None]:
        defaults = home / "config" / "labconfig"
        defaults.mkdir(parents=True)
        (defaults / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
        places = {
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "IPYTHONDIR": "ipython",
        }
        environment = os.environ | {name: str(home / place) for name, place in places.items()}
        paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
        environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        environment.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        environment.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
        environment |= self._environment
        self.token = secrets.token_hex(16)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *[sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"],
            *["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"],
            *["--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"],
            "--LabApp.expose_app_in_browser=True",  # so that a test can name a command
        ]
        with open(home / "server.log", "w+") as log:
            server = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                self._wait_for(server, home / "server.log")
                yield
            finally:
                server.terminate()  # by its number; it ends its kernels
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()

    def _wait_for(self, server: subprocess.Popen, log: Path) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.1)
        raise RuntimeError("JupyterLab did not start:\n" + log.read_text()[-3000:])

    @contextlib.contextmanager
    def open(self, name: str, *cells: str, width: int = 1200) -> Iterator["Notebook"]:
        """A notebook in a new page; made of `cells` when there are any.  Ends its kernel."""
        if cells:
            made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
            made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
            nbformat.write(made, self.folder / name)
        context = self.browser.new_context(viewport={"width": width, "height": 1000})
        context.set_default_timeout(PATIENCE * 1000)
        notebook = Notebook(self, context.new_page(), name)
        try:
            notebook.visit()
            yield notebook
        finally:
            notebook.page.evaluate(
                "async () => { const s = window.jupyterapp?.shell.currentWidget?.sessionContext;"
                " if (s) await s.shutdown(); }"
            )
            context.close()


class Notebook:
    """A page with a notebook, and what went wrong in it."""

    def __init__(self, lab: Lab, page: Page, name: str):
        self.lab, self.page, self.name = lab, page, name
        self.failed: list[str] = []  # requests
        self.errors: list[str] = []  # on the console, or thrown
        self._leaving = False  # a page that is left gives up what it had asked for
        page.on("requestfailed", self._note_failed)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))

    def visit(self) -> None:
        """Load the page, or load it anew, and wait until the kernel can be asked."""
        # A workspace of its own: JupyterLab would open again what was open before.
        place = f"/lab/workspaces/{secrets.token_hex(4)}/tree/{self.name}"
        self._leaving = True
        self.page.goto(f"{self.lab.url}{place}?token={self.lab.token}")
        self._leaving = False
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel can be asked."""
        self.page.wait_for_function(
            "() => ['idle', 'busy'].includes(window.jupyterapp?.shell.currentWidget"
            "?.sessionContext?.session?.kernel?.status)"
        )

    @contextlib.contextmanager
    def twin(self) -> Iterator["Notebook"]:
        """A second page that shows this notebook, with the same kernel."""
        page = self.page.context.new_page()
        twin = Notebook(self.lab, page, self.name)
        try:
            twin.visit()
            yield twin
        finally:
            twin._leaving = True
            page.close()

    def _note_failed(self, request: Request) -> None:
        if not self._leaving:
            self.failed.append(f"{request.url}: {request.failure}")

    def run_all(self, timeout: float = 240.0) -> None:
        """Run every cell, as "Run All" does, and wait for the last."""
        self.page.evaluate(
            "() => { window.ran = null; window.jupyterapp.commands.execute("
            "'notebook:run-all-cells').then(() => { window.ran = true; }); }"
        )
        self.page.wait_for_function("() => window.ran", timeout=timeout * 1000)

    def add(self, code: str, wait: bool = True) -> int:
        """Append a cell and run it; returns where it is."""
        index = self.page.evaluate(
            "code => { const book = window.jupyterapp.shell.currentWidget.content;"
            " const model = book.model.sharedModel; const index = model.cells.length;"
            " model.insertCell(index, {cell_type: 'code', source: code, metadata: {}});"
            " return index; }",
            code,
        )
        self.run(index, wait)
        return index

    def run(self, index: int, wait: bool = True) -> None:
        """Run one cell (again)."""
        self.page.evaluate(
            "index => { const book = window.jupyterapp.shell.currentWidget.content;"
            " book.deselectAll(); book.activeCellIndex = index; window.ran = null;"
            " window.jupyterapp.commands.execute('notebook:run-cell')"
            ".then(() => { window.ran = true; }); }",
            index,
        )
        if wait:
            self.page.wait_for_function("() => window.ran")

    def ask(self, expression: str) -> str:
        """What the kernel answers: the value of a Python expression, as it prints."""
        return self.page.evaluate(
            "async code => { let text = '';"
            " const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;"
            " const future = kernel.requestExecute({code, store_history: false});"
            " future.onIOPub = m => { text += m.content.text ?? m.content.evalue ?? ''; };"
            " await future.done; return text.trim(); }",
            f"print({expression})",
        )

    def complaints(self) -> list[str]:
        """What cells raised, and what they wrote to stderr."""
        return self.page.evaluate(
            "() => [...window.jupyterapp.shell.currentWidget.content.model.cells]"
            ".flatMap(cell => cell.outputs?.toJSON?.() ?? [])"
            ".filter(output => output.output_type === 'error' || output.name === 'stderr')"
            ".map(output => output.text ?? `${output.ename}: ${output.evalue}`)"
        )

    def save(self) -> Path:
        """Save the notebook; returns its file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return self.lab.folder / self.name

    def command(self, name: str, **options: Any) -> None:
        """Give JupyterLab a command."""
        self.page.evaluate(
            "([name, options]) => window.jupyterapp.commands.execute(name, options)",
            [name, options],
        )

    def show(self, code: str) -> "Widget":
        """Run a cell that ends in an Explorer; returns that once it has drawn."""
        self.add(code)
        return self.widget(-1)

    def widget(self, index: int = 0) -> "Widget":
        """The Explorer at this place, counted from the end if negative, once it has drawn."""
        widget = Widget(self.page, self.page.locator(".labkit-explorer").nth(index))
        widget.wait_until(lambda: widget.seq > 0, "it draws a first picture")
        return widget

    @property
    def widgets(self) -> int:
        """How many Explorers the page shows."""
        return self.page.locator(".labkit-explorer").count()


class Widget:
    """An Explorer in the page, as a person's hands and eyes meet it."""

    def __init__(self, page: Page, place: Locator):
        self.page, self.place = page, place
        self.view = place.locator(".labkit-live")

    @property
    def seq(self) -> int:
        """The number of the frame that is drawn; 0 before the first."""
        if not self.view.count():
            return 0
        return int(self.view.evaluate("el => el.dataset.seq ?? 0"))

    @property
    def status(self) -> str:
        """What stands beside the buttons."""
        return self.place.locator(".labkit-status").inner_text().strip()

    @property
    def words(self) -> str:
        """The sentence under the figure."""
        return self.view.locator(".labkit-words").inner_text()

    def press(self, name: str) -> None:
        """Click a button: "play" (which is also "stop"), "step" or "reset"."""
        self.place.locator(f".labkit-{name}").click()

    def control(self, label: str) -> Locator:
        """The control with this label."""
        exactly = re.compile(f"^{re.escape(label)}$")
        named = self.page.locator(".widget-label", has_text=exactly)
        return self.place.locator(".jupyter-widgets.widget-inline-hbox", has=named)

    def handle(self, label: str) -> Locator:
        """The handle of a slider."""
        return self.control(label).locator(".noUi-handle")

    def key(self, label: str, key: str = "ArrowRight", times: int = 1) -> None:
        """Press a key on a slider."""
        self.handle(label).focus()
        for _ in range(times):
            self.page.keyboard.press(key)

    def value(self, label: str, log: bool = False) -> float:
        """Where a slider stands, in full precision."""
        at = self.control(label).locator(".noUi-target").evaluate("el => el.noUiSlider.get(true)")
        at = float(at[0] if isinstance(at, list) else at)
        return 10.0**at if log else at

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The x and y of the curve that the legend calls so."""
        names = self._plot("el => el.data.map(trace => trace.name)")
        arrays, trace = self.arrays(), names.index(name)
        return arrays[trace, "x"], arrays[trace, "y"]

    def point(self, trace: int, index: int = 0) -> tuple[float, float]:
        """Where in the page a point of the figure is, in pixels."""
        arrays = self.arrays()
        return self.spot(trace, arrays[trace, "x"][index], arrays[trace, "y"][index])

    def spot(self, trace: int, x: float, y: float) -> tuple[float, float]:
        """Where in the page (x, y) is, on the axes of a trace, in pixels."""
        left, top = self._plot(
            "(el, [trace, x, y]) => { const {xaxis, yaxis} = el._fullData[trace];"
            " const axis = name => el._fullLayout[name[0] + 'axis' + name.slice(1)];"
            " const [across, up] = [axis(xaxis), axis(yaxis)];"
            " const corner = el.getBoundingClientRect();"
            " return [corner.left + across._offset + across.d2p(x),"
            " corner.top + up._offset + up.d2p(y)]; }",
            [trace, float(x), float(y)],
        )
        return left, top

    def drag(self, trace: int, index: int, right: float, down: float) -> None:
        """Take a point of the figure and let it go elsewhere, so many pixels away."""
        self.view.scroll_into_view_if_needed()
        left, top = self.point(trace, index)
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(left + right, top + down, steps=8)
        self.page.mouse.up()

    def stroke(self, *places: tuple[float, float]) -> None:
        """Go with the pointer down through these places of the figure, in pixels of the page."""
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()

    def _plot(self, script: str, argument: Any = None) -> Any:
        return self.view.locator(".js-plotly-plot").evaluate(script, argument)

    def arrays(self) -> dict[tuple[int, str], np.ndarray]:
        """The numbers in the figure as plotly holds them, by trace and attribute."""
        found = self._plot(
            "el => el.data.flatMap((trace, i) => ['x', 'y', 'z'].filter(a => trace[a]?.length)"
            ".map(a => [i, a, [...trace[a]].map(v => ArrayBuffer.isView(v) ? [...v] : v)]))"
        )
        return {(trace, name): np.array(values, float) for trace, name, values in found}

    def wait_until(self, holds: Any, what: str, timeout: float = PATIENCE) -> None:
        """Wait for something; says what did not happen when it does not."""
        until = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > until:
                raise AssertionError(f"{what}: not within {timeout:g} s; status {self.status!r}")
            self.page.wait_for_timeout(30)

    def settle(self, quiet: float = 0.8) -> None:
        """Wait until no frame has come for a while."""
        last, since = self.seq, time.monotonic()

        def still() -> bool:
            nonlocal last, since
            now = self.seq
            if now != last or self.status in ("compiling", "running"):
                last, since = now, time.monotonic()
            return time.monotonic() - since > quiet

        self.wait_until(still, "it comes to rest")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
