"""The index from papers to code: one row of papers.csv for each paper."""

import csv
import importlib
from importlib.resources import files
from types import ModuleType
from typing import NamedTuple

from labkit.errors import unknown


class Paper(NamedTuple):
    """One paper and where it lives."""

    id: str
    title: str
    year: str
    module: str
    notebook: str  # file#anchor of its home section, under notebooks/
    kind: str  # of its claim: exact, measured or reported
    claim: str  # the sentence that `claim(record)` in the module checks

    def load(self) -> ModuleType:
        """The module that implements this paper: `demo`, `views`, `say`, `claim`."""
        return importlib.import_module(self.module)

    @property
    def name(self) -> str:
        """The last part of the module: a second name for the paper."""
        return self.module.rpartition(".")[2]


def papers(words: str = "") -> dict[str, Paper]:
    """The papers by id; with `words`, those whose row contains them all."""
    with files("labkit").joinpath("papers.csv").open(encoding="utf-8") as lines:
        rows = [Paper(**row) for row in csv.DictReader(lines)]
    wanted = words.lower().split()
    return {row.id: row for row in rows if all(w in " ".join(row).lower() for w in wanted)}


def paper(name: str) -> Paper:
    """The paper with this id or module name.  Raises KeyError, which lists those there are."""
    for row in papers().values():
        if name in (row.id, row.name):
            return row
    raise unknown("paper", name, [n for row in papers().values() for n in (row.id, row.name)])


class Recap(NamedTuple):
    """What papers claim beside what their demonstrations show; a table in a notebook."""

    papers: list[Paper]

    def _repr_markdown_(self) -> str:
        lines = ["| id | claim | seen | expected | |\n| --- | --- | --- | --- | --- |\n"]
        for row in self.papers:
            claim = row.load().claim(row.load().demo())
            lines.append(line(row.id, row.claim, *claim.cells()))
        return "".join(lines)

    def __str__(self) -> str:
        return self._repr_markdown_()


def recap(*ids: str) -> Recap:
    """The claims of these papers beside measured numbers.  Raises KeyError for an unknown id."""
    return Recap([paper(name) for name in ids])


def table() -> str:
    """The papers as a table in Markdown, for the README."""
    head = "| id | paper | what the lab checks | kind | where |\n| --- | --- | --- | --- | --- |\n"
    rows = []
    for row in papers().values():
        method = f"[{row.name}]({row.module.replace('.', '/')}.py)"
        where = f"{method}, [notebook](notebooks/{row.notebook})"
        rows.append(line(row.id, f"{row.title} ({row.year})", row.claim, row.kind, where))
    return head + "".join(rows)


def line(*cells: str) -> str:
    """A line of a table in Markdown; the norms of a claim, |R|, end no cell."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |\n"
