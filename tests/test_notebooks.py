"""The notebooks as texts: shape, anchors, links, exercises.  nbval executes them.

An exercise is a cell with `### BEGIN SOLUTION` and `### END SOLUTION`; the cell after it
checks the answer.  `labkit.exercises.stub` makes the student's cell of it: the solution
gives way to an error that names the task, the cell's first line.  Wrong answers, which the
check must refuse with its hint, stand in the metadata of the cell: {"wrong": [code, ...]},
each of them in place of the solution.
"""

import ast
import functools
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from labkit.classroom import key
from labkit.exercises import SOLUTION, expect, stub
from labkit.papers import papers


pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[1] / "notebooks"
START = "00_start_here.ipynb"
MOST_LINES = 12  # of a code cell, and of those of a method cell
MOST_METHOD_LINES = 20
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Cell(NamedTuple):
    id: str
    kind: str
    source: str
    wrong: list


@functools.cache
def read(name):
    notebook = json.loads((ROOT / name).read_text(encoding="utf-8"))
    return [
        Cell(c["id"], c["cell_type"], "".join(c["source"]), c["metadata"].get("wrong", []))
        for c in notebook["cells"]
    ]


NAMES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
PAPERS = papers()
every_notebook = pytest.mark.parametrize("name", NAMES)


def code(name):
    return [cell for cell in read(name) if cell.kind == "code"]


def prose(name):
    return [cell for cell in read(name) if cell.kind == "markdown"]


def set_up(name):
    """The code cells before the first section."""
    cells = []
    for cell in read(name):
        if cell.kind == "markdown" and re.search(r"^##", cell.source, re.MULTILINE):
            break
        cells += [cell.source] * (cell.kind == "code")
    return "\n".join(cells)


def section(name, anchor):
    """The cells from the heading with this anchor to the next of its level."""
    cells = read(name)
    (start,) = (i for i, cell in enumerate(cells) if anchor in ANCHOR.findall(cell.source))
    level = len(HEADING.search(cells[start].source)[1])
    ends = (
        i
        for i, cell in enumerate(cells)
        if i > start and cell.kind == "markdown"
        if any(len(marks) <= level for marks, _ in HEADING.findall(cell.source))
    )
    return cells[start : next(ends, len(cells))]


def exercises():
    """(notebook, exercise, its check) for each exercise."""
    for name in NAMES:
        cells = code(name)
        for cell, following in zip(cells, [*cells[1:], None], strict=True):
            if SOLUTION.search(cell.source):
                yield pytest.param(name, cell, following, id=f"{name}:{cell.id}")


def answered(name, exercise, check):
    """Run an exercise and its check after the set-up of its notebook."""
    space = {}
    for source in (set_up(name), exercise, check.source):
        exec(source, space)


@pytest.mark.parametrize("id", PAPERS)
def test_a_paper_has_one_home_in_the_notebook_the_table_names(id):
    homes = [
        (name, HEADING.search(cell.source))
        for name in NAMES
        for cell in prose(name)
        for anchor in ANCHOR.findall(cell.source)
        if anchor == id
    ]
    assert [f"{name}#{id}" for name, _ in homes] == [PAPERS[id].notebook]
    assert homes[0][1][2].startswith(f"{id}. "), "the heading of a home begins with its id"


@pytest.mark.parametrize("id", PAPERS)
def test_a_home_lets_one_predict_explore_check_and_explain(id):
    cells = section(PAPERS[id].notebook.partition("#")[0], id)
    texts = "\n".join(cell.source for cell in cells if cell.kind == "markdown")
    calls = "\n".join(cell.source for cell in cells if cell.kind == "code")
    assert "*Predict.*" in texts
    assert "*Explain.*" in texts
    assert "**Think.**" in texts
    assert f"{PAPERS[id].name}.claim(" in calls
    assert ".check()" in calls
    assert "Explorer(" in calls


@every_notebook
def test_every_anchor_of_a_paper_is_in_the_table(name):
    anchors = [a for cell in prose(name) for a in ANCHOR.findall(cell.source)]
    assert [a for a in anchors if re.fullmatch(r"[FS]\d{3}", a) and a not in PAPERS] == []


@every_notebook
def test_a_notebook_says_what_it_is_for_and_shows_where_it_runs(name):
    opening = read(name)[0]
    assert opening.source.startswith("# ")
    for word in ("Prerequisites", "Time") + ("Objectives",) * (name != START):
        assert f"**{word}.**" in opening.source
    titles = [t for c in prose(name) for marks, t in HEADING.findall(c.source) if marks == "#"]
    assert len(titles) == 1
    assert "import" in set_up(name)
    assert "device.describe()" in set_up(name)


@every_notebook
def test_a_later_notebook_ends_with_its_limits_exercises_recap_and_references(name):
    if name == START:
        return
    headings = [title for cell in prose(name) for _, title in HEADING.findall(cell.source)]
    wanted = ["Where it breaks", "Exercises", "Recap", "References"]
    assert [title for title in headings if title in wanted] == wanted


@every_notebook
def test_cells_call_and_modules_define(name):
    for cell in code(name):
        tree = ast.parse(cell.source)
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        marks = {ast.unparse(mark) for node in classes for mark in node.decorator_list}
        assert len(classes) <= 1, cell.id
        assert marks == set(["method"][: len(classes)]), f"{cell.id}: only a method is a class"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 5, f"{cell.id}: {node.name} is long"


@every_notebook
def test_code_cells_are_short(name):
    for cell in code(name):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        most = MOST_METHOD_LINES if "@method" in lines else MOST_LINES
        assert 0 < len(lines) <= most, cell.id


@every_notebook
def test_links_between_notebooks_lead_somewhere(name):
    for cell in prose(name):
        for link in LINK.findall(cell.source):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.is_file(), f"{cell.id}: {link}"
            if anchor:
                there = prose(target.resolve().relative_to(ROOT.resolve()).as_posix())
                assert anchor in [a for c in there for a in ANCHOR.findall(c.source)], link


@every_notebook
def test_solutions_pass_their_checks_one_after_the_other_in_the_key(name):
    space = {}
    for cell in key(json.loads((ROOT / name).read_text(encoding="utf-8")))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)


@pytest.mark.parametrize("name, exercise, check", list(exercises()))
def test_a_stub_fails_and_names_its_task(name, exercise, check):
    task = exercise.source.splitlines()[0].lstrip("# ")
    assert task.startswith("Exercise")
    with pytest.raises(NotImplementedError, match=re.escape(task)):
        answered(name, stub(exercise.source), check)


@pytest.mark.parametrize("name, exercise, check", list(exercises()))
def test_a_wrong_answer_fails_with_a_hint(name, exercise, check):
    assert exercise.wrong, "an exercise names wrong answers in its metadata"
    for wrong in exercise.wrong:
        changed = SOLUTION.sub(lambda found, wrong=wrong: found["indent"] + wrong, exercise.source)
        with pytest.raises(AssertionError, match=r"Hint: \w"):
            answered(name, changed, check)


@pytest.mark.parametrize(
    "answer, expected",
    [(1.0, 1), ([1, 2], (1.0, 2.0)), (" Edge ", "edge"), (0.101, 0.1)],
)
def test_expect_accepts_what_is_right(answer, expected, capsys):
    expect(answer, expected, tolerance=0.01, hint="none is needed")
    assert "Right" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer, expected",
    [
        (1.02, 1.0),
        (float("nan"), 1.0),
        ([1.0, 1.0], 1.0),  # an array is no number, though each entry is right
        (None, 1.0),
        (..., 1.0),
        ("one", 1.0),
        (1.0, "one"),
        ("two", "one"),
    ],
)
def test_expect_refuses_what_is_wrong(answer, expected):
    with pytest.raises(AssertionError, match="Hint: think again"):
        expect(answer, expected, tolerance=0.01, hint="think again")


def test_a_stub_keeps_what_is_outside_the_solution():
    cell = "# Exercise: f\ndef f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n"
    wanted = "# Exercise: f\ndef f(x):\n    raise NotImplementedError('Exercise: f')\n"
    assert stub(cell) == wanted
    assert stub("x = 1\n") == "x = 1\n"
