"""A page without a browser: a kernel, and what JupyterLab says to it.

It keeps a twin of each widget, sends what a hand does to a subshell, one message at a time, and
draws frames as the live view does: the newest one, when the one before is done, and then says so.
"""

import contextlib
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jupyter_client.manager import KernelManager


ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds: a machine may be busy, and a program be new to it
PAINT = 0.03  # seconds that a draw takes


class Figure:
    """What one page keeps of one live view."""

    def __init__(self, page: str):
        self.page, self.seq, self.drawn = page, 0, 0
        self.structure: dict[str, Any] = {}
        self.arrays: dict[tuple[int, str], np.ndarray] = {}
        self.words = ""
        self.since = 0.0  # when the draw that is under way began

    def accept(self, head: dict, buffers: list) -> bool:
        """Take a frame in; False when frames before it were lost."""
        to = head.get("to")
        whole = "structure" in head and (not to or to == self.page)
        following = not to and head["seq"] == self.seq + 1
        if whole:
            self.structure, self.arrays = head["structure"], {}
        elif to or not self.structure:
            return True
        for (trace, path, shape), data in zip(head["arrays"], buffers, strict=True):
            self.arrays[trace, path] = np.frombuffer(data, "<f4").reshape(shape)
        self.seq, self.words = head["seq"], head["words"]
        return whole or following


class Page:
    """A kernel with a page before it.  Use it in a `with`: it ends what it started.

    `others` are further pages (tabs of the same notebook) that draw the same views.
    """

    def __init__(self, others: int = 0, **environment: str):
        self.names = [f"page {i}" for i in range(1 + others)]
        self.models: dict[str, dict[str, Any]] = {}  # the state of each widget, by its id
        self.figures: dict[str, list[Figure]] = {}  # of each live view, one a page
        self.complaints: list[str] = []  # what was raised, and what was written to stderr
        self.frames = 0  # drawn
        self.here = True  # a page that is not hears nothing and says nothing
        self._environment = environment
        self._idle: dict[str, threading.Event] = {}
        self._printed: dict[str, str] = {}
        self._speaking = threading.Lock()  # a socket bears one thread at a time
        self._stack = contextlib.ExitStack()
        self._subshell: str | None = None

    def __enter__(self) -> "Page":
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labkit-")))
            self._log = stack.enter_context(open(home / "kernel.log", "w+"))
            paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
            environment = {
                **os.environ,
                "IPYTHONDIR": str(home / "ipython"),
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                **self._environment,
            }
            sockets = {"transport": "ipc", "ip": str(home / "kernel")}
            self.manager = KernelManager(kernel_name="python3", **sockets)
            self.manager.start_kernel(env=environment, cwd=home, stderr=self._log)
            stack.callback(self.manager.shutdown_kernel, now=True)
            self.client = self.manager.blocking_client()
            self.client.start_channels(hb=False)
            stack.callback(self.client.stop_channels)
            self.client.wait_for_ready(timeout=PATIENCE)
            self._subshell = self._open_subshell()
            self._over = threading.Event()
            listener = threading.Thread(target=self._listen, name="page")
            listener.start()
            stack.callback(listener.join)
            stack.callback(self._over.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def log(self) -> str:
        """What the kernel wrote beside its messages, less its greeting."""
        self._log.seek(0)
        return "".join(line for line in self._log if "frozen modules" not in line).strip()

    def execute(self, code: str) -> str:
        """Run a cell; returns what it printed.  Raises AssertionError when it fails."""
        before = len(self.complaints)
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        number = self._say("execute_request", content)
        self._wait(number)
        assert len(self.complaints) == before, self.complaints[before:]
        return self._printed.pop(number, "").strip()

    def set(self, model: str, **state: Any) -> None:
        """What a hand does to a control: its new state, and wait until that was heard."""
        self.models[model].update(state)
        self._tell(model, {"method": "update", "state": state, "buffer_paths": []}, wait=True)

    def click(self, model: str) -> None:
        """Press a button."""
        self._tell(model, {"method": "custom", "content": {"event": "click"}}, wait=True)

    def say(self, view: str, page: str = "page 0", wait: bool = True, **content: Any) -> None:
        """What the script of a live view says to the kernel."""
        self._tell(view, {"method": "custom", "content": {**content, "page": page}}, wait)

    def parts(self, model: str) -> Iterator[str]:
        """A widget and all it contains."""
        yield model
        for child in self.models[model].get("children", ()):
            yield from self.parts(child.removeprefix("IPY_MODEL_"))

    def wait_until(self, holds: Any, what: str) -> None:
        """Wait for something; says what did not happen when it does not."""
        until = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < until, f"{what}: not within {PATIENCE:g} s"
            time.sleep(0.003)

    def leave(self) -> None:
        """Close every page: nothing that comes is heard, or answered, from now on."""
        self.here = False
        time.sleep(2 * PAINT)  # for the draw that is under way
        for view in list(self.figures):
            self.say(view, kind="drawn", seq=0)  # which is heard after all that was said before

    # What the kernel says is heard by a thread of its own.

    def _listen(self) -> None:
        socket = self.client.iopub_channel.socket
        while not self._over.is_set():
            if socket.poll(10):
                _, message = self.client.session.recv(socket)
                self._hear(message)
            if self.here:
                self._draw()

    def _hear(self, message: dict) -> None:
        kind, content = message["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id", "")
        if kind == "status" and content["execution_state"] == "idle":
            if parent in self._idle:
                self._idle[parent].set()
        elif kind == "error":
            self.complaints.append(f"{content['ename']}: {content['evalue']}")
        elif kind == "stream" and content["name"] == "stderr":
            self.complaints.append(content["text"])
        elif kind == "stream":
            self._printed[parent] = self._printed.get(parent, "") + content["text"]
        elif kind.startswith("comm_"):
            self._comm(kind, content, [bytes(data) for data in message["buffers"]])

    def _comm(self, kind: str, content: dict, buffers: list[bytes]) -> None:
        model, data = content["comm_id"], content.get("data", {})
        if kind == "comm_open":
            self.models[model] = state = dict(data["state"])
            if "first" in state:
                self._meet(model, state["first"], buffers, data["buffer_paths"])
        elif kind == "comm_close":
            self.models.pop(model, None)
            self.figures.pop(model, None)
        elif data["method"] == "update":
            self.models[model].update(data["state"])
        elif data["method"] == "custom" and data["content"].get("kind") == "frame" and self.here:
            for figure in self.figures[model]:
                if not figure.accept(data["content"], buffers):
                    self.say(model, figure.page, wait=False, kind="hello", seq=0)

    def _meet(self, view: str, first: dict, buffers: list[bytes], paths: list[list]) -> None:
        """A live view was opened: its first frame came with it."""
        mine = [data for data, path in zip(buffers, paths, strict=True) if path[0] == "first"]
        self.figures[view] = [Figure(name) for name in self.names]
        for figure in self.figures[view]:
            figure.accept(first["head"], mine)
            self.say(view, figure.page, wait=False, kind="hello", seq=figure.seq)
            self.say(view, figure.page, wait=False, kind="look", theme="light", width=800)

    def _draw(self) -> None:
        now = time.monotonic()
        for view, figures in list(self.figures.items()):
            for i, figure in enumerate(figures):
                if figure.seq > figure.drawn and now - figure.since > PAINT * (1 + i):
                    figure.drawn, figure.since = figure.seq, now
                    self.frames += 1
                    self.say(view, figure.page, wait=False, kind="drawn", seq=figure.seq)

    # What is said to the kernel, by any thread.

    def _tell(self, model: str, data: dict, wait: bool) -> None:
        content = {"comm_id": model, "data": data}
        number = self._say("comm_msg", content, heed=wait, subshell=self._subshell)
        if wait:
            self._wait(number)

    def _say(self, kind: str, content: dict, heed: bool = True, subshell: str | None = None) -> str:
        with self._speaking:
            message = self.client.session.msg(kind, content)
            if subshell:
                message["header"]["subshell_id"] = subshell
            number = message["header"]["msg_id"]
            if heed:
                self._idle[number] = threading.Event()
            self.client.session.send(self.client.shell_channel.socket, message)
        return number

    def _wait(self, number: str) -> None:
        heard = self._idle[number].wait(PATIENCE)
        del self._idle[number]
        assert heard, f"the kernel has not answered within {PATIENCE:g} s"

    def _open_subshell(self) -> str | None:
        """A thread in the kernel for what hands do, as JupyterLab asks for one."""
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        with contextlib.suppress(queue.Empty):
            reply = self.client.get_control_msg(timeout=PATIENCE)
            return reply["content"].get("subshell_id")
        return None
