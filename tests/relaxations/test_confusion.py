"""Soft confusion counts and metrics against loops, definitions and the bound, and against S013."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.relaxations.confusion import (
    METRICS,
    Counts,
    best_threshold,
    check_metric,
    hard_counts,
    metric_loss,
    metric_value,
    soft_counts,
    soft_step,
    step_slope,
)


def drawn(n=200, share=0.1, seed=0):
    """Probabilities and labels that agree in part."""
    random = np.random.default_rng(seed)
    y = (random.uniform(size=n) < share).astype(float)
    return np.clip(0.4 * y + 0.6 * random.uniform(size=n), 0.0, 1.0), y


def loop(p, y, tau):
    """The counts as they read, sample by sample, in float64."""
    tp = fp = tn = fn = 0.0
    for p_i, y_i in zip(p, y, strict=True):
        a = 1.0 / (1.0 + np.exp(-(p_i - 0.5) / tau)) if tau else float(p_i > 0.5)
        tp, fn = tp + y_i * a, fn + y_i * (1 - a)
        fp, tn = fp + (1 - y_i) * a, tn + (1 - y_i) * (1 - a)
    return Counts(*map(np.asarray, (tp, fp, tn, fn)))  # type: ignore


def defined(metric, c, beta=1.0):
    """The metrics by their textbook definitions, from rates, with nothing empty."""
    recall, specificity = c.TP / (c.TP + c.FN), c.TN / (c.TN + c.FP)
    precision, negative = c.TP / (c.TP + c.FP), c.TN / (c.TN + c.FN)
    return {
        "accuracy": (c.TP + c.TN) / sum(c),
        "F beta": (1 + beta**2) * precision * recall / (beta**2 * precision + recall),
        "geometric mean": np.sqrt(recall * specificity),
        "balanced accuracy": (recall + specificity) / 2,
        "Matthews correlation": np.sqrt(precision * recall * specificity * negative)
        - np.sqrt((1 - precision) * (1 - recall) * (1 - specificity) * (1 - negative)),
    }[metric]


@functools.partial(jax.jit, static_argnums=0)
def _seen(metrics, p, y, tau):
    """The losses of several metrics, and their gradients."""
    loss = lambda p: jnp.stack([metric_loss(metric, p, y, tau) for metric in metrics])
    return loss(p), jax.jacrev(loss)(p)


@pytest.mark.parametrize("tau", [1.0, 0.1, 1 / 73])
def test_the_counts_are_those_of_a_loop_and_sum_to_the_samples(tau, double):
    p, y = drawn()
    found = soft_counts(jnp.asarray(p), jnp.asarray(y), tau)
    np.testing.assert_allclose(found, loop(p, y, tau), rtol=1e-12)  # sums of 200 terms
    np.testing.assert_allclose(sum(found), len(p), rtol=1e-14)
    np.testing.assert_allclose(found.matrix, [[found.TN, found.FP], [found.FN, found.TP]])


def test_hard_counts_are_the_limit():
    p, y = drawn()
    hard = hard_counts(jnp.asarray(p), jnp.asarray(y))
    np.testing.assert_array_equal(hard, loop(p, y, 0.0))
    tau = np.abs(p - 0.5).min() / 20  # each A within exp(-20) of its decision
    np.testing.assert_allclose(soft_counts(jnp.asarray(p), jnp.asarray(y), tau), hard, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_each_metric_is_that_of_its_definition(metric, beta, double):
    p, y = drawn()
    for counts in (loop(p, y, 0.1), loop(p, y, 0.0)):
        found = metric_value(metric, Counts(*map(jnp.asarray, counts)), beta)
        np.testing.assert_allclose(found, defined(metric, counts, beta), rtol=1e-12)


@pytest.mark.slow
def test_each_metric_of_hard_counts_is_that_of_scikit_learn(double):
    from sklearn import metrics

    p, y = drawn()
    called = (p > 0.5).astype(int)
    theirs = {
        "accuracy": metrics.accuracy_score(y, called),
        "F beta": metrics.fbeta_score(y, called, beta=2.0),
        "balanced accuracy": metrics.balanced_accuracy_score(y, called),
        "Matthews correlation": metrics.matthews_corrcoef(y, called),
    }
    counts = hard_counts(jnp.asarray(p), jnp.asarray(y))
    for metric, value in theirs.items():
        np.testing.assert_allclose(metric_value(metric, counts, 2.0), value, rtol=1e-12)


def test_a_typed_formula_is_a_metric_too():
    p, y = map(jnp.asarray, drawn())
    own = metric_loss("2*TP / (2*TP + FP + FN)", p, y, 0.1)
    np.testing.assert_allclose(own, metric_loss("F beta", p, y, 0.1), rtol=1e-6)  # float32
    check_metric("F beta")
    with pytest.raises(ValueError, match="'F1' is refused; accepted: TP, FP, TN, FN, beta"):
        check_metric("F1")


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("margin, tau", [(0.1, 1 / 73), (0.05, 0.02), (0.2, 0.1)])
def test_the_soft_f1_is_within_its_bound_of_the_hard_one(share, margin, tau, double):
    delta = 1.0 / (1.0 + np.exp(margin / tau))
    for seed in range(5):
        p, y = drawn(1000, share, seed)
        p = np.where(p > 0.5, 0.5 + margin + 0.4 * (p - 0.5), 0.5 - margin - 0.4 * (0.5 - p))
        steps = np.asarray(soft_step(jnp.asarray(p), tau))
        assert np.abs(steps - (p > 0.5)).max() <= delta * (1 + 1e-12)
        losses = (metric_loss("F beta", jnp.asarray(p), jnp.asarray(y), t) for t in (tau, 1e-6))
        soft, hard = (1 - float(loss) for loss in losses)
        bound = (2 * y.sum() + len(y) * hard) * delta / (y.sum() + steps.sum())
        assert abs(soft - hard) <= bound * (1 + 1e-9)


def test_imbalance_can_break_a_flat_bound_and_the_true_one_is_nearly_reached(double):
    """All 1,000 right, each at the margin 0.1 with L = 73: the error is 6.7e-3, above 5e-3."""
    y = np.arange(1000) < 50
    p, delta = np.where(y, 0.6, 0.4), 1.0 / (1.0 + np.exp(7.3))
    soft = float(1 - metric_loss("F beta", jnp.asarray(p), jnp.asarray(y), 1 / 73))
    bound = (2 * 50 + 1000) * delta / (50 + 50 * (1 - delta) + 950 * delta)
    assert 5e-3 < 1 - soft <= bound
    np.testing.assert_allclose(1 - soft, 10 * delta, rtol=0.02)  # to first order in delta


def test_autodiff_of_f1_is_its_closed_form(double):
    p, y = map(jnp.asarray, drawn())
    a = soft_step(p, 0.1)
    total, tp = y.sum() + a.sum(), (y * a).sum()
    closed = 2 * y / total - 2 * tp / total**2
    _, slopes = _seen(tuple(METRICS), p, y, 0.1)
    slope = np.asarray(slopes)[list(METRICS).index("F beta")]
    np.testing.assert_allclose(slope, -closed * step_slope(p, 0.1), rtol=1e-10)


def test_a_positive_more_surely_called_so_never_harms():
    for seed in range(3):
        p, y = drawn(seed=seed)
        _, slopes = _seen(tuple(METRICS), jnp.asarray(p), jnp.asarray(y), 0.1)
        assert (np.asarray(slopes)[:, y == 1] < 0).all()
        assert (np.asarray(slopes)[:, y == 0] > 0).all()


def test_the_slope_is_that_of_the_step_and_largest_in_its_middle(double):
    p = jnp.linspace(0.0, 1.0, 11)
    slope_of = jax.jit(jax.vmap(jax.grad(soft_step), (0, None)))
    for tau in (0.05, 0.5):
        np.testing.assert_allclose(step_slope(p, tau), slope_of(p, tau), rtol=1e-10)
        np.testing.assert_allclose(step_slope(p, tau).max(), 1 / (4 * tau), rtol=1e-12)


def test_distance_and_softness_scale_together():
    p = jnp.linspace(0.0, 1.0, 11)
    stretched = 0.5 + 7.0 * (p - 0.5)
    np.testing.assert_allclose(soft_step(stretched, 0.7), soft_step(p, 0.1), rtol=1e-5)


def test_leading_axes_are_batches():
    p, y = (values.reshape(2, 3, 10) for values in drawn(60, 0.5))
    whole = metric_loss("F beta", jnp.asarray(p), jnp.asarray(y), 0.1, 2.0)
    alone = [
        [defined("F beta", loop(*each, 0.1), 2.0) for each in zip(*of, strict=True)]
        for of in zip(p, y, strict=True)
    ]
    np.testing.assert_allclose(whole, 1 - np.array(alone), rtol=1e-5)  # float32


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float32, 6, elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, 6, elements=st.sampled_from([0.0, 1.0])),
    st.sampled_from([1e-40, 1e-30, 1e-3, 0.03, 1.0, 1e30]),
)
def test_values_and_gradients_are_numbers_whatever_is_empty(p, y, tau):
    values, slopes = _seen(tuple(METRICS), p, y, np.float32(tau))
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    # 1 - metric; the correlation goes down to -1, and each step rounds in float32
    assert (np.asarray(values) >= -1e-5).all()
    assert (np.asarray(values) <= 2.00001).all()


# At 0.44 and 0.56 soft counts are 1e-26: their squares, in the slope of a ratio, are 0.
@pytest.mark.parametrize(
    "p", [[1e38, -1e38], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0], [0.44, 0.44], [0.56, 0.56]]
)
@pytest.mark.parametrize("y", [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
def test_extremes_and_empty_classes_give_numbers(p, y):
    pad = lambda values: np.array(values * 3, np.float32)  # the shape of the test above
    values, slopes = _seen(tuple(METRICS), pad(p), pad(y), np.float32(1e-3))
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()


def test_no_samples_count_nothing():
    nothing = jnp.zeros((2, 0))
    for metric in METRICS:
        np.testing.assert_array_equal(metric_loss(metric, nothing, nothing, 0.1), [1.0, 1.0])


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    with pytest.raises(ValueError, match=r"tau = .*; accepted: a number above 0, in units of prob"):
        metric_loss("accuracy", jnp.ones(2), jnp.ones(2), tau)


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_threshold_is_that_of_a_search(metric, double):
    p, y = drawn(60)
    p = np.round(p, 1)  # with ties
    best = -np.inf
    for cut in [-1.0, *(np.unique(p) + 0.01)]:
        called = p > cut
        counts = (y @ called, (1 - y) @ called, (1 - y) @ ~called, y @ ~called)
        best = max(best, float(metric_value(metric, Counts(*map(jnp.asarray, counts)))))
    cut, value = best_threshold(metric, jnp.asarray(p), jnp.asarray(y))
    np.testing.assert_allclose(value, best, rtol=1e-12)
    shifted = hard_counts(jnp.asarray(p > cut, float), jnp.asarray(y))
    np.testing.assert_allclose(metric_value(metric, shifted), value, rtol=1e-12)
