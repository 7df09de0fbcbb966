"""The bench: each measure against a naive count, each operator against its limit, and F025."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import run
from labkit.record import Record
from labkit.relaxations.comparison import Comparison, claim, compare, demo, operators_of, say, views
from labkit.relaxations.operators import TASKS, largest, ranks


X = np.array([0.6, -0.3, 1.9, 1.1])
every = pytest.mark.parametrize("task", TASKS)


@functools.cache
def record_of(task):
    """All operators of a task but those of the demonstration, from hard to soft."""
    return run(compare(task=task, values=X, draws=8), 30, every=10)


@pytest.mark.parametrize("task", ["rank", "choose", "top_k"])
def test_every_operator_goes_to_the_hard_thing(task):
    record = record_of(task)
    assert operators_of(record) == sorted(TASKS[task].operators)
    for name in operators_of(record):
        assert record[f"rounded {name}"][0] == 1.0, name
        # A Cauchy swap is linear in tau, and Sinkhorn's iteration is slow at this tau; the
        # others are exponential, or exact.
        slow = name in ("cauchy", "sinkhorn")
        assert record[f"bias {name}"][0] < (0.02 if slow else 1e-5), name


def test_every_sort_of_the_demonstration_goes_to_the_hard_one():
    for name in operators_of(demo()):
        assert demo()[f"rounded {name}"][0] == 1.0, name
        assert demo()[f"bias {name}"][0] < 0.05, name  # of monotone swaps it is linear in tau


@every
def test_the_hard_thing_has_the_signs_that_are_expected(task):
    """Moving one input up, as far as it goes, moves no output against its sign."""
    hard, signs = TASKS[task].hard, TASKS[task].signs(len(X))
    for j in range(len(X)):
        for far in (0.5, 1.0, 3.0):
            up = jnp.asarray(X + far * np.eye(4)[j])
            moved = np.asarray(hard(up)) - np.asarray(hard(jnp.asarray(X)))
            assert (moved * signs[:, j] >= 0).all()


def test_each_measure_is_what_it_is_called():
    """The Gumbel-softmax, counted by hand over the same draws."""
    tau, draws = 0.5, 8
    bench = Comparison(values=jnp.asarray(X), task="choose", draws=draws, names=("gumbel",))
    seen = {name: float(a) for name, a in bench(tau).items() if name != "values"}
    noise = [jr.gumbel(key, (4,)) for key in jr.split(jr.key(0), draws)]
    soft = np.array([jax.nn.softmax(X / tau + g) for g in noise])
    slope = np.array([(np.diag(p) - np.outer(p, p)) / tau for p in soft])
    hard = np.eye(4)[np.argmax(X)]
    expected = 2 * np.eye(4) - 1
    top = np.abs(slope).max((1, 2), keepdims=True)
    counted = {
        "bias gumbel": np.abs(soft.mean(0) - hard).mean(),
        "wrong gumbel": (slope * expected < -1e-5 * top).mean(),
        "dead gumbel": (slope == 0).mean(),
        "variance gumbel": slope.var(0).mean(),
        "rounded gumbel": (np.eye(4)[soft.argmax(1)] == hard).mean(),
    }
    assert counted["variance gumbel"] > 0.01
    for name, value in counted.items():
        np.testing.assert_allclose(seen[name], value, rtol=1e-4, err_msg=name)


def test_wrong_signs_are_counted_against_a_plain_loop():
    """SoftSort at one softness, its slopes by finite differences."""
    tau, record = 0.3, demo()
    x = record.last("values").astype(float)

    def soft(x):
        p = np.exp(-np.abs(np.sort(x)[:, None] - x) / tau)
        return (p / p.sum(1, keepdims=True)) @ x

    slope = np.array([(soft(x + 1e-6 * e) - soft(x - 1e-6 * e)) / 2e-6 for e in np.eye(len(x))])
    bench = Comparison(values=x, names=("softsort",), draws=2)
    share = (slope < -1e-5 * np.abs(slope).max()).mean()
    assert share > 0.1
    np.testing.assert_allclose(bench(tau)["wrong softsort"], share, atol=1e-6)


def test_a_score_function_has_the_gradient_of_softmax_in_the_mean():
    """Not so small a variance: eight draws a tau in the record, many more here."""
    operator = TASKS["choose"].operators["score function"]
    slopes = jax.jit(jax.vmap(jax.jacrev(lambda x, key: operator(x, 1.0, key)[0]), (None, 0)))
    found = slopes(jnp.asarray(X), jr.split(jr.key(1), 20_000))
    p = np.asarray(jax.nn.softmax(X))
    error = 5 * np.asarray(found.std(0)) / np.sqrt(20_000)  # five standard errors
    assert (np.abs(found.mean(0) - (np.diag(p) - np.outer(p, p))) < error).all()


def test_an_operator_of_ones_own_is_put_beside():
    """One that always sorts downwards: each of its slopes that is not zero points right."""
    backward = ("backward", lambda x, tau, key: (jnp.sort(x)[::-1], jnp.sort(x)[::-1]))
    record = run(compare("cauchy", backward, draws=2), 3)
    assert operators_of(record) == ["backward", "cauchy"]
    np.testing.assert_allclose(record["rounded backward"], 0.0)
    assert (record["bias backward"] > 0.5).all()
    assert (record["wrong backward"] == 0).all()
    assert all(view(record).marks for view in views)


def test_ranks_and_the_largest_are_those_of_numpy():
    np.testing.assert_array_equal(ranks(jnp.asarray(X)), [2, 1, 4, 3])
    np.testing.assert_array_equal(largest(jnp.asarray(X), 2), [0, 0, 1, 1])


def test_what_does_not_exist_is_refused_in_a_sentence():
    with pytest.raises(KeyError, match="no operator of sort 'softsrot'"):
        compare("softsrot")
    with pytest.raises(ValueError, match="task = 'shuffle' is refused"):
        compare(task="shuffle")
    with pytest.raises(ValueError, match="three numbers or more"):
        compare(values=[1.0, 2.0])


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "never of cauchy, error-free, isotonic, optimal, reciprocal" in say(demo())


def test_the_claim_refuses_a_logistic_swap_among_the_monotone():
    told = {**demo().columns, "wrong cauchy": demo()["wrong logistic"]}
    assert not claim(Record(demo().steps, told)).holds


def test_the_claim_refuses_sorts_that_never_point_the_wrong_way():
    told = {**demo().columns, "wrong softsort": 0 * demo()["wrong softsort"]}
    assert not claim(Record(demo().steps, told)).holds
