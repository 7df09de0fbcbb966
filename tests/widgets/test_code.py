"""The line of Python that makes a run again, by executing it."""

import linecache
import sys

import numpy as np
import pytest

from labkit import Descent, Momentum, fields, replace
from labkit.landscapes import surface_descent
from labkit.problems import Quadratic
from labkit.relaxations import soft_sort
from labkit.run import Run, plain_value
from widgets import code


HEAVY = Descent(Quadratic(np.array([1.0, 0.1], np.float32)), Momentum(0.1))


def line(going, method, source="start", limit=None):
    given = {name: plain_value(field.value) for name, field in fields(method).items()}
    return code.line(going.record, source, given, limit)


def assert_made_again(going, method, limit=None):
    """The line, by itself, makes the record of the run."""
    said = line(going, method, limit=limit)
    assert "\n" not in said
    space = {"start": method}
    exec(said, space)
    record, expected = space["record"], going.record
    np.testing.assert_array_equal(record.steps, expected.steps)
    assert list(record) == list(expected)
    for name in record:
        np.testing.assert_array_equal(record[name], expected[name], err_msg=name)
    assert record.events == expected.events


def test_a_run_as_it_was_given():
    going = Run(HEAVY, 500, key=3, every=2)
    going.advance(20)
    assert line(going, HEAVY) == "from labkit import run; record = run(start, 38, key=3, every=2)"
    assert_made_again(going, HEAVY)


def test_other_values_are_those_it_began_with():
    going = Run(replace(HEAVY, {"lr": 0.3}), 100)
    going.advance(10)
    assert "replace(start, {'rule.lr': 0.3})" in line(going, HEAVY)
    assert_made_again(going, HEAVY)


def test_knobs_turned_on_the_way_are_turned_again():
    going = Run(HEAVY, 500, every=3)
    for lr in (0.05, 0.4, 0.1):
        going.advance(7)
        going.turn(replace(going.given, {"lr": lr}))
    going.advance(4)
    assert "turns=[(18, {'rule.lr': 0.05}), (39, {'rule.lr': 0.4})" in line(going, HEAVY)
    assert_made_again(going, HEAVY)


def test_what_is_turned_after_the_last_row_is_left_out():
    going = Run(HEAVY, 500)
    going.advance(5)
    going.turn(replace(HEAVY, {"lr": 0.2}))
    assert line(going, HEAVY) == "from labkit import run; record = run(start, 4, key=0)"


def test_a_record_that_thinned_itself_is_thinned_again():
    going = Run(HEAVY, 5000, limit=16)
    going.advance(700)
    assert len(going.record) <= 16
    assert "limit=16" in line(going, HEAVY, limit=16)
    assert_made_again(going, HEAVY, limit=16)


def test_arrays_choices_and_single_precision_are_typed_shortly():
    start = surface_descent.example()
    changes = {"w0": np.float32([0.1, -0.3]), "lr": np.float32(0.02)}
    going = Run(replace(start, changes), 10)
    going.advance(99)
    said = line(going, start)
    assert "[0.1, -0.3]" in said
    assert "'rule.lr': 0.02}" in said
    assert_made_again(going, start)


def test_a_sweep_is_made_again():
    start = soft_sort.example()
    going = Run(replace(start, {"values": [1.0, 5.0, 2.0, 0.5, 4.0]}))
    going.advance(1000)
    assert_made_again(going, start)


CALLS = """
def see(*arguments, **options):
    return code.first_argument(sys._getframe(1))

def inside(given):
    return see(given), see(start), see(*[start])

plain = see(start)
call = see(
    dict(  # a comment
        start=start, steps=5),
    2)
bound = see([row for row in start], views=1)
named = see(method=start)
nothing = see()
several = see(1 + 1), see("two")
of_a_function = inside(3)
"""


@pytest.fixture
def cell():
    """What CALLS gives when it is run as the cell of a notebook is."""
    name = "<a cell>"
    linecache.cache[name] = (len(CALLS), None, CALLS.splitlines(True), name)
    space = {"code": code, "sys": sys, "start": [1]}
    exec(compile(CALLS, name, "exec"), space)
    yield space
    del linecache.cache[name]


def test_the_expression_of_the_method_is_what_was_written(cell):
    assert cell["plain"] == "start"
    assert cell["call"] == "dict(start=start, steps=5)"
    assert cell["bound"] == "[row for row in start]"
    assert cell["named"] == "start"
    assert cell["nothing"] == ""
    assert cell["several"] == ("1 + 1", "'two'")
    assert cell["of_a_function"] == ("", "start", "")


def test_where_no_source_is_known_there_is_no_expression():
    space = {"code": code, "sys": sys}
    exec("def see(x): return code.first_argument(sys._getframe(1))\nsaid = see(3)", space)
    assert space["said"] == ""
