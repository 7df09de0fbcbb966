"""The words: what a screen reader speaks."""

import numpy as np
import pytest

from labkit.render.text import describe, number
from labkit.views import Curve, Panel, Text


def test_curves_are_told_by_their_last_finite_value():
    curves = [
        Curve(np.arange(3), np.array([1, 4.983, np.nan]), "sharpness"),
        Curve(np.arange(3), np.full(3, 5.0), "threshold"),
    ]
    said = describe([Panel("Edge", curves, "step", "curvature")])
    assert said == "Edge (curvature over step): sharpness 4.98, threshold 5.00."


def test_every_mark_with_any_data_is_told(unusual):
    lines = describe(unusual).splitlines()
    assert len(lines) >= len(unusual)
    for panel in unusual:
        assert any(line.startswith(panel.title) for line in lines)
    assert "nan" not in " ".join(lines)


def test_a_text_is_told_as_it_is():
    assert describe([Panel("Found", [Text("x <- 2\n y")])]) == "Found: x <- 2\n y"


@pytest.mark.parametrize(
    "value, said",
    [(0.0, "0"), (1234.5, "1234"), (999.0, "999"), (0.01234, "0.0123"), (2e-9, "2.00e-09")],
)
def test_numbers_have_three_or_four_digits(value, said):
    assert number(value) == said


def test_numbers_that_are_none_have_words():
    assert [number(v) for v in (np.nan, np.inf, -np.inf)] == [
        "unknown",
        "infinity",
        "minus infinity",
    ]
