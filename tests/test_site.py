"""What the static pages are made of: notebooks for readers, links, and what was run before."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.papers import papers


ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "site" / "build.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)

EXERCISE = "# Exercise: a number\n### BEGIN SOLUTION\nx = 42\n### END SOLUTION"


def write(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)


def printed(text):
    return [nbformat.v4.new_output("stream", text=text)]


def test_a_reader_sees_no_solution_and_no_answer():
    cells = [
        new_code_cell("print(1)", outputs=printed("1")),
        new_code_cell(EXERCISE, outputs=printed("42")),
        new_code_cell("expect(x, 42)", outputs=printed("Right: 42 is as expected.")),
        new_code_cell("print(2)", outputs=printed("2")),
    ]
    book = site.for_readers(new_notebook(cells=cells), "a.ipynb", ["a.ipynb"])
    assert "x = 42" not in book.cells[1].source
    assert "NotImplementedError('Exercise: a number')" in book.cells[1].source
    assert [len(cell.outputs) for cell in book.cells] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[b](b.ipynb)", "[b](b.ipynb)"),
        ("[b](b.ipynb#F001)", "[b](#F001)"),
        ("[up](../0.ipynb#x)", "[up](#x)"),
        ("see [this](c.ipynb#F001).", "see this."),
        ("[code](c.py)", "[code](c.py)"),
    ],
)
def test_links_lead_to_pages_that_are_there(text, expected):
    assert site.links(text, "part/a.ipynb", ["part/a.ipynb", "part/b.ipynb", "0.ipynb"]) == expected


def test_a_page_of_the_documents_links_to_notebooks_and_sites_alone():
    text = (
        "[a](../notebooks/a.ipynb), [b](../notebooks/b.ipynb), [hub](hub/README.md), "
        "[site](https://example.org), [top](#top), ![picture](x.png)"
    )
    assert site.beside(text, ["a.ipynb"]) == (
        "[a](notebooks/a.ipynb), b, hub, [site](https://example.org), [top](#top), "
        "![picture](x.png)"
    )


def test_an_anchor_becomes_a_target():
    book = new_notebook(cells=[new_markdown_cell('<a id="F001"></a>\n\n## F001. Title')])
    assert site.for_readers(book, "a.ipynb", []).cells[0].source == "(F001)=\n\n## F001. Title"


def test_the_course_is_in_its_order():
    names = site.found(ROOT / "notebooks")
    assert names[0] == "00_start_here.ipynb"
    relaxations = [name for name in names if name.startswith("relaxations/")]
    numbers = [int(re.search(r"/(\d+)_", name)[1]) for name in relaxations]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_index_holds_every_paper_and_links_to_what_is_there():
    text = site.index_of_papers(["00_start_here.ipynb"])
    rows = [line for line in text.splitlines() if re.match(r"\| [FS]\d", line)]
    assert len(rows) == len(papers())
    there = {row.id for row in papers().values() if row.notebook.startswith("00_start_here")}
    linked = {re.search(r"\(#(\w+)\)", row)[1] for row in rows if "(#" in row}
    assert linked == there


def test_the_first_page_introduces_the_lab_and_leads_to_every_page():
    text = site.front(["00_start_here.ipynb", "dynamics/1_edge.ipynb"], ["teach"])
    assert text.startswith("# labkit\n")
    for page in ("notebooks/00_start_here", "notebooks/dynamics/1_edge", "papers", "teach"):
        assert f"\n{page}\n" in text
    assert ":caption: Dynamics" in text
    assert "<details>" not in text
    assert "(docs/" not in text


@pytest.mark.notebook
def test_a_failing_notebook_is_named_with_its_cell(tmp_path):
    write(tmp_path / "a.ipynb", new_code_cell("1 / 0", id="the-cell"))
    with pytest.raises(site.Failed, match=r"a\.ipynb, cell the-cell: ZeroDivisionError"):
        site.execute_all(tmp_path, ["a.ipynb"], tmp_path / "runs", 1)


@pytest.mark.notebook
def test_what_was_executed_is_kept_until_its_code_changes(tmp_path, capsys):
    count = f"open({str(tmp_path / 'log')!r}, 'a').write('x'); print('seen')"

    def built(words, code):
        write(tmp_path / "a.ipynb", new_markdown_cell(words), new_code_cell(code))
        book = site.execute_all(tmp_path, ["a.ipynb"], tmp_path / "runs", 1)["a.ipynb"]
        assert book.cells[0].source == words
        assert book.cells[1].outputs[0].text == "seen\n"
        return len((tmp_path / "log").read_text())

    assert built("first", count) == 1
    assert built("other words", count) == 1
    assert built("other words", count + "; 2") == 2
    assert len(list((tmp_path / "runs").iterdir())) == 1
