"""The index, the modules, the claims and the README agree."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import labkit
from labkit import Claim, check
from labkit.papers import paper, papers, table


ROOT = Path(__file__).parents[1]
PARTS = ("landscapes", "dynamics", "relaxations")

each = pytest.mark.parametrize("row", papers().values(), ids=papers())


@each
def test_each_paper_has_a_module_that_names_it_as_its_source(row):
    module = row.load()
    source = re.search(r"Source: (.*)", module.__doc__, re.DOTALL)
    assert source, "a method file ends its docstring with `Source: ID, title`"
    assert row.id in re.findall(r"[FS]\d{3}", source[1])
    assert row.id in module.claim.__doc__
    assert list(module.views)
    check(module.example())


@each
def test_each_paper_has_an_id_a_year_and_a_sentence(row):
    assert re.fullmatch(r"[FS]\d{3}", row.id)
    assert re.fullmatch(r"\d{4}", row.year)
    assert row.claim.endswith(".")
    assert paper(row.id) == paper(row.name) == row


@each
@pytest.mark.budget("demo", 5)
def test_each_demonstration_says_what_it_shows_and_its_claim_is_of_the_kind_told(row):
    module = row.load()
    record = module.demo()  # the first to ask, as a rule: conftest puts this before its module's
    assert isinstance(module.claim(record), Claim)
    assert module.claim(record).kind == row.kind
    assert module.say(record).endswith(".")
    module.claim(record).check()


def test_every_method_file_is_in_the_table():
    known = {row.module for row in papers().values()}
    for part in PARTS:
        package = importlib.import_module(f"labkit.{part}")
        for found in pkgutil.iter_modules(package.__path__, f"labkit.{part}."):
            if hasattr(importlib.import_module(found.name), "demo"):
                assert found.name in known


@pytest.mark.parametrize("part", PARTS)
def test_every_file_of_a_part_is_in_its_reading_order(part):
    package = importlib.import_module(f"labkit.{part}")
    for found in pkgutil.iter_modules(package.__path__):
        assert found.name in package.__doc__


def test_words_find_papers():
    assert set(papers("sharpness 2 / lr")) == {"F001", "F003"}
    assert not papers("no such words")


def test_an_unknown_paper_is_answered_with_those_there_are():
    with pytest.raises(KeyError, match="Did you mean 'soft_sort'"):
        paper("soft_srot")


def test_a_line_of_the_table_has_as_many_cells_as_its_head():
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in table().splitlines()]
    assert set(cells) == {7}  # with what is before the first bar and after the last


def test_the_readme_shows_the_table_as_it_is():
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_everything_public_is_there():
    assert all(hasattr(labkit, name) for name in labkit.__all__)
