"""Copies of the notebooks for a class.

    student/         each solution gives way to a stub that names its task; the checks stay
    solutions/       the key of each notebook: set-up, tasks, solutions, checks
    course/          an nbgrader course: in its source/ one assignment a part, one point a check

The three are written from the notebooks, which stay the only source.  An exercise is a code cell
with a solution (see `labkit.exercises`); its task stands before it, its check after it, and then
perhaps more code that uses the answer.
"""

import ast
import copy
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from labkit.errors import refusal
from labkit.exercises import SOLUTION, stub


Cell = dict[str, Any]
Notebook = dict[str, Any]  # as in its file: nbformat 4

COURSE = """\
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "labkit"
c.Execute.timeout = 600  # s a cell: one may compile; nbgrader's own 30 s are too few
c.Execute.raise_on_iopub_timeout = False
"""

SECTION = re.compile(r"^##", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()[^)\s]+?\.ipynb")


def student(notebook: Notebook) -> Notebook:
    """The copy for students: stubs for solutions, and no wrong answers in the metadata.

    Stubs, and what follows them up to the next text, fail until they are answered: "run all" goes
    past them.
    """
    notebook = copy.deepcopy(notebook)
    for _, exercise, check, *more in exercises(notebook):
        exercise["source"] = _lines(stub(_open(exercise, check)))
        exercise["metadata"].pop("wrong", None)
        for cell in (exercise, check, *more):
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "raises-exception"]
    return notebook


def key(notebook: Notebook) -> Notebook:
    """The answers by themselves: title, set-up, then task, solution and check of each exercise.

    After an exercise stand the answers that its check refuses with a hint.
    """
    first, *rest = notebook["cells"]
    title = source(first).partition("\n")[0]
    cells = [{**first, "source": [f"{title}: solutions"]}, *_set_up(rest)]
    for task, exercise, check, *_ in exercises(notebook):
        cells += [task, exercise, check]
        wrong = exercise["metadata"].get("wrong", [])
        refused = "\n\n".join(f"```python\n{answer}\n```" for answer in wrong)
        if refused:
            cells.append(_markdown(f"{exercise['id']}-wrong", f"Answers it refuses:\n\n{refused}"))
    return {**notebook, "cells": cells}


def gradable(notebook: Notebook) -> Notebook:
    """The notebook as nbgrader wants its source: an exercise is an answer, its check a test."""
    notebook = copy.deepcopy(notebook)
    for _, exercise, check, *_ in exercises(notebook):
        exercise["source"] = _lines(_open(exercise, check))
        exercise["metadata"] = {"nbgrader": _nbgrader(exercise, solution=True)}
        check["metadata"]["nbgrader"] = {**_nbgrader(check, solution=False), "points": 1}
    return notebook


def write(notebooks: Path, folder: Path) -> list[Path]:
    """Write the three copies of the notebooks under `notebooks` into `folder`.

    Returns the folders written.  Raises ValueError where there is no notebook.
    """
    found = [
        path.relative_to(notebooks)
        for path in sorted(notebooks.rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
    ]
    if not found:
        raise refusal("notebooks", str(notebooks), "a folder with notebooks")
    source = folder / "course" / "source"
    for name in found:
        notebook = json.loads((notebooks / name).read_text(encoding="utf-8"))
        _save(student(notebook), folder / "student" / name)
        _save(key(notebook), folder / "solutions" / name)
        _save(_relinked(gradable(notebook), name.as_posix()), source / assignment(name.as_posix()))
    (folder / "course" / "nbgrader_config.py").write_text(COURSE, encoding="utf-8")
    return [folder / "student", folder / "solutions", folder / "course"]


def assignment(name: str) -> str:
    """Where a notebook stands in a course: in the assignment of its part, or in `start`."""
    return name if "/" in name else f"start/{name}"


def exercises(notebook: Notebook) -> Iterator[list[Cell]]:
    """[task, exercise, check, ...] for each exercise: a text, then the code up to the next text."""
    cells = notebook["cells"]
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code" and SOLUTION.search(source(cell)):
            after = itertools.takewhile(lambda c: c["cell_type"] == "code", cells[i:])
            yield [cells[i - 1], *after]


def source(cell: Cell) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def _open(exercise: Cell, check: Cell) -> str:
    """The exercise with a line `name = ...` before its solution for each name to be found.

    It says what the answer is to be called; and a check cannot take for the answer what an earlier
    cell left under that name.
    """

    def named(solution: re.Match[str]) -> str:
        if solution["indent"]:  # of a function: the stub raises when the check calls it
            return solution[0]
        read = _names(source(check), ast.Load)
        asked = [name for name in _names(solution["code"], ast.Store) if name in read]
        return "".join(f"{name} = ...\n" for name in dict.fromkeys(asked)) + solution[0]

    return SOLUTION.sub(named, source(exercise))


def _names(code: str, context: type[ast.expr_context]) -> list[str]:
    """The names that code reads or gives a value outside its functions."""
    outside = (node for node in ast.parse(code).body if not isinstance(node, ast.FunctionDef))
    nodes = (node for outer in outside for node in ast.walk(outer))
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, context)]


def _set_up(cells: list[Cell]) -> Iterator[Cell]:
    """The code cells before the first section."""
    for cell in cells:
        if cell["cell_type"] == "markdown" and SECTION.search(source(cell)):
            return
        if cell["cell_type"] == "code":
            yield cell


def _nbgrader(cell: Cell, *, solution: bool) -> dict[str, Any]:
    return {
        "schema_version": 3,
        "cell_type": cell["cell_type"],
        "grade_id": cell["id"],
        "solution": solution,
        "grade": not solution,
        "locked": not solution,
        "task": False,
    }


def _relinked(notebook: Notebook, name: str) -> Notebook:
    """Links to other notebooks lead to the assignments that these are in."""
    here = PurePosixPath(assignment(name)).parent

    def moved(link: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(name).parent / link[0]).replace(os.sep, "/")
        return PurePosixPath(os.path.relpath(assignment(target), here)).as_posix()

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _lines(LINK.sub(moved, source(cell)))
    return notebook


def _markdown(name: str, text: str) -> Cell:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": _lines(text)}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _save(notebook: Notebook, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
