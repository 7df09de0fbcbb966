"""Copies for a class: nothing is given away, nothing else is lost, nbgrader finds what it needs.

That a stub fails, that a solution passes and that a wrong answer is refused is shown where the
exercises are executed, in `test_notebooks.py`; here the copies are texts.
"""

import ast
import copy
import json
import re
from pathlib import Path

import nbformat
import pytest
from traitlets.config import Config

from labkit.__main__ import main
from labkit.classroom import LINK, exercises, gradable, key, source, student
from labkit.exercises import SOLUTION, stub


pytestmark = pytest.mark.notebook

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(
    path.relative_to(NOTEBOOKS).as_posix()
    for path in NOTEBOOKS.rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
BLANK = re.compile(r"^(\w+) = \.\.\.\n", re.MULTILINE)
every_notebook = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    assert main(["student", str(folder), "--notebooks", str(NOTEBOOKS)]) == 0
    return folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def in_course(name):
    return f"course/source/{name}" if "/" in name else f"course/source/start/{name}"


def answers(notebook):
    """The code of each solution."""
    found = (SOLUTION.search(source(exercise)) for _, exercise, *_ in exercises(notebook))
    return [match["code"].strip() for match in found]


def names(code, context):
    """The names that code reads, or those it gives a value."""
    found = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name))
    return {node.id for node in found if isinstance(node.ctx, context)}


@pytest.mark.parametrize("folder", ["student", "solutions", "course/source"])
def test_every_notebook_has_a_valid_copy(built, folder):
    found = {p.relative_to(built).as_posix() for p in (built / folder).rglob("*.ipynb")}
    wanted = {in_course(name) if "course" in folder else f"{folder}/{name}" for name in NAMES}
    assert found == wanted
    for path in found:
        nbformat.validate(read(built / path))


@every_notebook
def test_a_student_copy_is_the_notebook_with_stubs(built, name):
    ours, theirs = read(NOTEBOOKS / name), read(built / "student" / name)
    texts = [BLANK.sub("", source(cell)) for cell in theirs["cells"]]
    assert texts == [stub(source(cell)) for cell in ours["cells"]]
    outside = [
        (n["metadata"], [(c["id"], c["cell_type"]) for c in n["cells"]]) for n in (ours, theirs)
    ]
    assert outside[0] == outside[1]


@every_notebook
def test_a_student_copy_gives_no_answer_away(built, name):
    ours, theirs = read(NOTEBOOKS / name), read(built / "student" / name)
    assert answers(ours)
    assert answers(theirs) == []
    said = "\n".join(source(cell) for cell in theirs["cells"])
    assert "SOLUTION" not in said
    assert [code for code in answers(ours) if code in said] == []
    assert not [cell["id"] for cell in theirs["cells"] if "wrong" in cell["metadata"]]


@every_notebook
def test_run_all_goes_past_what_is_unanswered_and_nothing_else(built, name):
    waits, unanswered = False, set()
    for cell in read(NOTEBOOKS / name)["cells"]:
        code = cell["cell_type"] == "code"
        waits = code and (waits or bool(SOLUTION.search(source(cell))))
        unanswered |= {cell["id"]} if waits else set()
    cells = read(built / "student" / name)["cells"]
    tagged = {c["id"] for c in cells if "raises-exception" in c["metadata"].get("tags", [])}
    assert tagged == unanswered


@every_notebook
def test_a_check_cannot_take_what_an_earlier_cell_left_for_the_answer(built, name):
    blank = {
        cell["id"]: set(BLANK.findall(source(cell)))
        for cell in read(built / "student" / name)["cells"]
    }
    for _, exercise, check, *_ in exercises(read(NOTEBOOKS / name)):
        solution = SOLUTION.search(source(exercise))
        if not solution["indent"]:  # of a function, the stub raises when the check calls it
            asked = names(solution["code"], ast.Store) & names(source(check), ast.Load)
            assert asked
            assert blank[exercise["id"]] == asked


@every_notebook
def test_a_key_holds_the_set_up_and_each_task_with_its_solution_and_check(built, name):
    ours, answers_alone = read(NOTEBOOKS / name), read(built / "solutions" / name)
    cells = answers_alone["cells"]
    title = source(ours["cells"][0]).partition("\n")[0]
    assert source(cells[0]) == f"{title}: solutions"
    places = {cell["id"]: place for place, cell in enumerate(cells)}
    for task, exercise, check, *_ in exercises(ours):
        place = places[exercise["id"]]
        assert cells[place - 1 : place + 2] == [task, exercise, check]
        assert all(wrong in source(cells[place + 2]) for wrong in exercise["metadata"]["wrong"])
    code = [cell["id"] for cell in cells if cell["cell_type"] == "code"]
    asked = [cell["id"] for found in exercises(ours) for cell in found[1:3]]
    assert code[-len(asked) :] == asked
    assert "device.describe()" in "".join(source(c) for c in cells[1 : places[asked[0]]])


@every_notebook
def test_nbgrader_finds_an_answer_and_a_locked_test_worth_a_point(built, name):
    """The metadata as nbgrader's schema 3 asks for them, and its marks around a solution."""
    ours, graded = read(NOTEBOOKS / name), read(built / in_course(name))
    found = [
        (cell, cell["metadata"]["nbgrader"])
        for cell in graded["cells"]
        if "nbgrader" in cell["metadata"]
    ]
    wanted = [cell["id"] for found in exercises(ours) for cell in found[1:3]]
    assert [marks["grade_id"] for _, marks in found] == wanted
    assert len(set(wanted)) == len(wanted)
    for number, (cell, marks) in enumerate(found):
        assert re.fullmatch(r"[a-zA-Z0-9_\-]+", marks["grade_id"])
        kind = {"schema_version": 3, "cell_type": "code", "task": False}
        answer = {"solution": True, "grade": False, "locked": False}
        test = {"solution": False, "grade": True, "locked": True, "points": 1}
        assert marks == {**kind, **(test if number % 2 else answer), "grade_id": cell["id"]}
        code = source(cell)
        times = 0 if number % 2 else 1
        assert [code.count(f"### {mark} SOLUTION") for mark in ("BEGIN", "END")] == [times] * 2
    assert "wrong" not in json.dumps([cell["metadata"] for cell in graded["cells"]])


@every_notebook
def test_in_a_course_only_links_move_and_blanks_are_added(built, name):
    cells = zip(
        read(NOTEBOOKS / name)["cells"], read(built / in_course(name))["cells"], strict=True
    )
    for cell, moved_cell in cells:
        ours, theirs = source(cell), BLANK.sub("", source(moved_cell))
        assert LINK.sub("", ours) == LINK.sub("", theirs)
        for link, moved in zip(LINK.findall(ours), LINK.findall(theirs), strict=True):
            target = (NOTEBOOKS / name).parent / link
            place = (built / in_course(name)).parent / moved
            there = in_course(target.resolve().relative_to(NOTEBOOKS.resolve()).as_posix())
            assert place.resolve() == (built / there).resolve()


def test_the_configuration_of_a_course_gives_a_cell_time_to_compile(built):
    """`get_config` is what the loader of traitlets puts there."""
    config = Config()
    text = (built / "course" / "nbgrader_config.py").read_text(encoding="utf-8")
    exec(text, {"get_config": lambda: config})
    assert config.CourseDirectory.course_id == "labkit"
    assert config.Execute.timeout >= 300


@pytest.mark.parametrize("made", [student, key, gradable])
def test_what_is_made_leaves_the_notebook_as_it_is(made):
    notebook = read(NOTEBOOKS / NAMES[0])
    before = copy.deepcopy(notebook)
    assert made(notebook) != before
    assert notebook == before


def test_a_folder_without_notebooks_is_refused_with_a_sentence(tmp_path, capsys):
    assert main(["student", str(tmp_path / "out"), "--notebooks", str(tmp_path)]) == 1
    assert "accepted: a folder with notebooks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
