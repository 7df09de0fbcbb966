"""Typed formulas against Python's own arithmetic, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from labkit.relaxations.formulas import evaluate


VALUES = {"TP": 30.0, "FP": 7.0, "TN": 900.0, "FN": 20.0}
FORMULAS = [
    "TP",
    "2*TP / (2*TP + FP + FN)",
    "-(5*FN + FP) / 1000 + 1e-3",
    "TP - FP - TN - FN / FP / TP",
    "sqrt(TP / (TP + FN) * TN / (TN + FP)) ** 3",
    "log(TP) - +log(1 + FN) * TP ** -2",
    "-TP ** 2 + (-FP) ** 3",
    "(TP + TN) ** 0 * 7",
]
BAD = [
    "", "  ", "TP +", "(TP", "TP TN", "P", "tp", "__import__('os')", "TP.real", "TP[0]", "[TP]",
    "TP if FP else TN", "lambda: TP", "TP == FP", "TP and FP", "not TP", "~TP", "TP // FP",
    "TP % FP", "TP @ FP", "TP ** 0.5", "TP ** FN", "2 ** TP", "TP ** 10", "TP ** 2 ** 3",
    "TP ** True", "True", "None", "1e999", "1e39", "1j", "'TP'", "exp(TP)", "sqrt()",
    "sqrt(TP, FP)", "sqrt(a=TP)", "sqrt(*TP)", "sqrt", "(lambda: TP)()", "TP := 3", "TP; FP",
    "import os", "f'{TP}'", "TP\0", "x" * 201, "(" * 190, None, 3,
]  # fmt: skip


def evaluated(formula, values=VALUES):
    return evaluate(formula, {name: jnp.asarray(value) for name, value in values.items()})


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_has_the_value_that_python_gives_it(formula, double):
    expected = eval(formula, {"sqrt": math.sqrt, "log": math.log}, VALUES)
    np.testing.assert_allclose(evaluated(formula), expected, rtol=1e-14)  # rounding


@pytest.mark.parametrize("formula", BAD)
def test_what_is_no_formula_is_refused_in_a_sentence(formula):
    said = r"(?s)formula = .* is refused; accepted: (TP, FP, TN, FN, numbers|a text of at most 200)"
    with pytest.raises(ValueError, match=said):
        evaluated(formula)


def test_the_refusal_says_where_it_stopped_reading():
    with pytest.raises(ValueError, match=r"\(at 'FN % 2'\)"):
        evaluated("TP / (FN % 2)")


def test_the_longest_chain_of_signs_is_still_read():
    assert evaluated("-" * 198 + "TP") == 30.0


def test_a_formula_keeps_shape_and_dtype_of_the_counts():
    values = {"TP": jnp.ones((2, 3), jnp.float32), "FN": jnp.zeros((2, 3), jnp.float32)}
    for formula in ("3", "TP + 1", "2 * FN"):
        found = evaluate(formula, values)
        assert (found.shape, found.dtype) == ((2, 3), jnp.float32)


@pytest.mark.parametrize(
    "formula, zero, expected",
    [
        ("TP / FP", "FP", 0.0),
        ("FP / FP", "FP", 0.0),
        ("sqrt(FP)", "FP", 0.0),
        ("sqrt(FP - TN)", "FP", 0.0),
        ("log(FP)", "FP", math.log(1e-12)),
        ("FP ** -2", "FP", 0.0),
    ],
)
def test_where_there_is_no_value_the_gradient_is_zero(formula, zero, expected):
    at = lambda x: evaluated(formula, {**VALUES, zero: x})
    value, slope = jax.value_and_grad(at)(jnp.asarray(0.0))
    np.testing.assert_allclose(value, expected, rtol=1e-6)  # float32
    assert slope == 0.0


def test_the_gradient_is_that_of_finite_differences(double):
    named = lambda x: dict(zip(VALUES, x, strict=True))
    at = jax.jit(lambda x: jnp.stack([evaluated(formula, named(x)) for formula in FORMULAS]))
    check_grads(at, (jnp.array([3.0, 2.0, 5.0, 4.0]),), order=1, modes=("rev",))
