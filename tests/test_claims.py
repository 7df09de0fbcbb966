"""What a claim holds, and how it says so."""

import math

import numpy as np
import pytest

from labkit.claims import Claim


def claim(seen, expected, tolerance=0.0, relation="=", kind="measured"):
    return Claim(seen, expected, tolerance, "The ratio of the two", kind, relation)


@pytest.mark.parametrize(
    "relation, seen, holds",
    [
        ("=", 1.0, True),
        ("=", 1.25, True),
        ("=", 0.75, True),
        ("=", 1.26, False),
        ("=", 0.74, False),
        ("<=", -9.0, True),
        ("<=", 1.25, True),
        ("<=", 1.26, False),
        (">=", 9.0, True),
        (">=", 0.75, True),
        (">=", 0.74, False),
    ],
)
def test_a_relation_holds_to_within_the_tolerance(relation, seen, holds):
    assert claim(seen, 1.0, 0.25, relation).holds is holds


def test_every_entry_has_to_be_as_expected():
    assert claim(np.ones(3), 1.0).holds
    assert not claim([1.0, 1.0, 1.1], 1.0).holds
    assert claim([1.0, 2.0], [1.0, 2.0]).holds
    assert not claim([[1.0, 2.0]], [1.0, 3.0], relation=">=").holds


@pytest.mark.parametrize("relation", ["=", "<=", ">="])
@pytest.mark.parametrize("seen", [math.nan, [1.0, math.nan], []])
def test_nan_and_nothing_never_hold(relation, seen):
    assert not claim(seen, 1.0, 9.0, relation).holds
    assert not claim(1.0, math.nan, 9.0, relation).holds
    assert not claim(1.0, 1.0, math.nan, relation).holds
    with pytest.raises(AssertionError, match="FAILS"):
        claim(seen, 1.0, 9.0, relation).check()


def test_booleans_and_whole_numbers_are_numbers():
    assert claim([True, True], True).holds
    assert not claim([True, False], True).holds
    assert claim(np.arange(3), [0, 1, 2], kind="exact").holds


def test_check_prints_the_number_and_the_verdict(capsys):
    claim(0.512, 0.5, 0.02).check()
    assert capsys.readouterr().out == (
        "The ratio of the two\n  seen 0.512, expected 0.5 to within 0.02: holds (measured)\n"
    )
    claim([1.0, 2.0], 0.0, relation=">=", kind="exact").check()
    assert "seen [1. 2.], at least 0.: holds (exact)" in capsys.readouterr().out


def test_check_prints_before_it_raises_and_the_error_says_the_same(capsys):
    with pytest.raises(AssertionError) as error:
        claim(2.0, 1.0, relation="<=").check()
    assert capsys.readouterr().out == f"{error.value}\n"
    assert "seen 2., at most 1.: FAILS (measured)" in str(error.value)


@pytest.mark.parametrize("seen", [2.0, math.nan, []])
def test_what_is_only_reported_never_raises_and_claims_nothing(seen, capsys):
    claim(seen, 1.0, kind="reported").check()
    out = capsys.readouterr().out
    assert out.endswith("reported (reported)\n")
    assert "holds" not in out
    assert "FAILS" not in out


def test_a_long_array_is_said_in_short():
    assert len(str(claim(np.arange(1000.0), 0.0))) < 200
