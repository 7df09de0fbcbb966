"""The course as static pages: every notebook executed, every widget recorded.

.venv/bin/python docs/site/build.py [notebook ...] [--source FOLDER] [--output FOLDER]

Notebooks are named below the source folder ("dynamics/1_edge_of_stability.ipynb"); without any,
all are taken.  What was executed is kept until its code, or labkit's, changes.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode


HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from labkit.exercises import SOLUTION, stub  # noqa: E402
from labkit.papers import line, papers  # noqa: E402
from widgets.camera import STATIC  # noqa: E402
from widgets.page import plotly_js  # noqa: E402
from widgets.recorded import SCRIPT  # noqa: E402


ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+\.ipynb)(#[^)\s]+)?\)")
ELSEWHERE = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|notebooks/)[^)]*\)")
PARTS = {".": "Start"}  # folder -> caption; others are called as their folders
CELL = 600  # seconds that one cell may take


class Failed(Exception):
    """A notebook that did not run to its end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the pages; 0 when all went well, 1 with a sentence."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument("--source", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    names = options.notebooks or found(options.source)
    try:
        executed = execute_all(
            options.source, names, options.output.with_name("site-runs"), options.jobs
        )
    except (Failed, OSError) as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    staged = options.output.with_name("site-source").resolve()
    stage(staged, executed)
    return pages(staged, options.output)


def found(source: Path) -> list[str]:
    """All notebooks, in the order of the course."""
    names = [
        path.relative_to(source)
        for path in source.rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    ]
    number = lambda name: int(re.match(r"\d*", name.stem)[0] or 0)  # type: ignore[index]
    return [n.as_posix() for n in sorted(names, key=lambda n: (n.parent, number(n), n))]


def execute_all(
    source: Path, names: Iterable[str], runs: Path, jobs: int
) -> dict[str, NotebookNode]:
    """The notebooks with their outputs, by name.  Raises Failed for the first that fails."""
    runs.mkdir(parents=True, exist_ok=True)
    code = _digest_of_code()
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {name: pool.submit(execute, source / name, name, runs, code) for name in names}
        try:
            return {name: done.result() for name, done in waiting.items()}
        except Failed:
            pool.shutdown(cancel_futures=True)
            raise


def execute(path: Path, name: str, runs: Path, code: str) -> NotebookNode:
    """A notebook with its outputs, as it ran before where nothing has changed since."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    key = hashlib.sha256("\0".join([code, name, *cells]).encode()).hexdigest()[:20]
    kept = runs / f"{name.replace('/', '-')}.{key}.ipynb"
    if kept.exists():
        outputs = iter(c for c in nbformat.read(kept, as_version=4).cells if c.cell_type == "code")
        for cell in notebook.cells:  # the words around the code may be newer
            if cell.cell_type == "code":
                cell.outputs = next(outputs).outputs
        return notebook
    print(f"running {name}", flush=True)
    started = ["none"]
    client = NotebookClient(
        notebook,
        timeout=CELL,
        store_widget_state=False,
        resources={"metadata": {"path": path.parent}},
        on_cell_start=lambda cell, cell_index: started.append(cell.id),
    )
    try:
        client.execute(env=_environment())
    except CellExecutionError as error:
        why = f"{error.ename}: {error.evalue}"
        raise Failed(f"{name}, cell {started[-1]}: {why}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        why = str(error).partition("\n")[0]
        raise Failed(f"{name}, cell {started[-1]}: {why}") from error
    for old in runs.glob(f"{name.replace('/', '-')}.*.ipynb"):
        old.unlink()
    nbformat.write(notebook, kept)
    return notebook


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {STATIC: "1", "PYTHONPATH": path}


def _digest_of_code() -> str:
    """Changes with anything that a notebook may import from here."""
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes())
    for path in sorted(p for part in ("labkit", "widgets") for p in (ROOT / part).rglob("*")):
        if path.suffix in (".py", ".js", ".csv"):
            digest.update(path.as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def for_readers(notebook: NotebookNode, name: str, names: Container[str]) -> NotebookNode:
    """The notebook without the solutions of its exercises, and without what gives them away."""
    hide = False
    for cell in notebook.cells:
        if cell.cell_type != "code":
            cell.source = links(ANCHOR.sub(r"(\1)=", cell.source), name, names)
            continue
        exercise = bool(SOLUTION.search(cell.source))
        if exercise or hide:  # the cell after it checks the answer, and says it
            cell.outputs = []
        cell.source, hide = stub(cell.source), exercise
    return notebook


def links(text: str, name: str, names: Container[str]) -> str:
    """Links to the anchors of other notebooks as Sphinx has them; none to what is not here."""

    def link(found: re.Match) -> str:
        words, path, anchor = found.groups()
        if os.path.normpath(Path(name).parent / path) not in names:
            return words
        return f"[{words}]({anchor or path})"

    return LINK.sub(link, text)


def stage(folder: Path, executed: dict[str, NotebookNode]) -> None:
    """Write what Sphinx reads."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, notebook in executed.items():
        path = folder / "notebooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(for_readers(notebook, name, executed), path)
    others = sorted((ROOT / "docs").glob("*.md"))
    for path in others:
        text = beside(path.read_text(encoding="utf-8"), executed)
        (folder / path.name).write_text(text, "utf-8")
    shutil.copy(ROOT / "docs" / "edge_of_stability.png", folder)
    (folder / "index.md").write_text(front(list(executed), [p.stem for p in others]), "utf-8")
    (folder / "papers.md").write_text(index_of_papers(executed), "utf-8")
    static = folder / "_static"
    static.mkdir()
    (static / "plotly.min.js").write_bytes(plotly_js())
    (static / "recorded.js").write_text(SCRIPT, "utf-8")


def beside(text: str, names: Iterable[str]) -> str:
    """A page of docs/ with links to the notebooks that are here, and to other sites."""
    here = {f"notebooks/{name}" for name in names}
    text = links(text.replace("](../notebooks/", "](notebooks/"), "page.md", here)
    return ELSEWHERE.sub(r"\1", text)


def front(names: Sequence[str], others: Sequence[str]) -> str:
    """The first page: the introduction of the README, and the order of all pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## What is in it")[0]
    readme = re.sub(r"<details>.*?</details>\n", "", readme, flags=re.DOTALL)
    readme = re.sub(r"^\*\(Made by .*\)\*\n", "", readme, flags=re.MULTILINE)
    readme = readme.replace("](docs/", "](")
    text = (HERE / "front.md").read_text(encoding="utf-8")
    introduction, _, rest = readme.partition("\n## ")
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(Path(name).parent.as_posix(), []).append(f"notebooks/{name[:-6]}")
    trees = [_tree(PARTS.get(part, part.title()), inside) for part, inside in parts.items()]
    trees.append(_tree("More", ["papers", *others]))
    first = f"notebooks/{names[0]}"
    return "\n\n".join([introduction, text.format(first=first), f"## {rest}", *trees])


def _tree(caption: str, pages: Iterable[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])


def index_of_papers(executed: Container[str]) -> str:
    """Every paper, with a link to its section where that is among these pages."""
    lines = ["# The papers\n\n", line("id", "paper", "what the lab checks", "kind", "section")]
    lines.append(line(*["---"] * 5))
    for row in papers().values():
        file, _, anchor = row.notebook.partition("#")
        link = f"[{row.name}](#{anchor})" if file in executed else row.name
        lines.append(line(anchor, f"{row.title} ({row.year})", row.claim, row.kind, link))
    return "".join(lines)


def pages(source: Path, output: Path) -> int:
    """Let Sphinx make the pages; what it warns of is an error."""
    from sphinx.cmd.build import build_main

    doctrees = output.with_name("site-doctrees")
    shutil.rmtree(output, ignore_errors=True)
    quiet = ["-q", "-W", "--keep-going", "-j", "auto"]
    static = ["-D", f"html_static_path=static,{source / '_static'}"]
    places = ["-c", str(HERE), "-d", str(doctrees), str(source), str(output)]
    code = build_main([*quiet, *static, *places])
    if not code:
        print(output / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
