"""Learned sampling against enumerations, naive masks and other robust fits, and S042."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import check, fan, replace, run
from labkit.record import Record
from labkit.relaxations import differentiable_ransac as module
from labkit.relaxations import two_view_sampling
from labkit.relaxations.differentiable_ransac import LINE, claim, demo, errors, say
from labkit.relaxations.drawn_scores import ESTIMATORS, estimates, exact
from labkit.relaxations.minimal_sets import line_points
from labkit.relaxations.set_draws import draw_sets
from labkit.relaxations.two_views import two_views
from labkit.run import Run


POINTS, T, TAU, SETS = line_points(5), 0.15, 0.7, 32
LOGITS = 0.7 * np.random.default_rng(1).normal(size=14)
estimated = jax.jit(lambda key, logits: estimates(key, logits, POINTS, LINE, T, SETS, TAU))
by_pairs = jax.jit(lambda logits: exact(logits, POINTS, LINE, T))


def score_of(rows, weights):
    """Of the line through weighted points [a, b, c], among all points; NumPy throughout."""
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    h = np.linalg.svd(np.sqrt(weights)[:, None] * rows)[2][-1]
    off = (POINTS @ h[:2] + h[2]) / np.hypot(*h[:2])
    return np.maximum(0, 1 - off**2 / T**2).sum()


def naive_odds(logits):
    p = np.exp(logits) / np.exp(logits).sum()
    return lambda i, j: p[i] * p[j] / (1 - p[i])  # in this order


def test_the_exact_score_is_that_of_all_pairs_and_its_gradient_that_of_differences():
    orders = list(itertools.permutations(range(14), 2))
    scores = np.array([score_of(POINTS[list(pair)], np.ones(2)) for pair in orders])

    def mean(logits):
        odds = naive_odds(logits)
        return sum(odds(*pair) * s for pair, s in zip(orders, scores, strict=True))

    found = by_pairs(LOGITS)
    np.testing.assert_allclose(found.mean, mean(LOGITS), rtol=1e-4)
    np.testing.assert_allclose(found.scores.max(), scores.max(), rtol=1e-4)
    differences = [(mean(LOGITS + e) - mean(LOGITS - e)) / 2e-4 for e in 1e-4 * np.eye(14)]
    np.testing.assert_allclose(found.gradient, differences, atol=1e-4)


def test_the_score_function_is_that_of_the_formula_on_the_sets_drawn():
    found, drawn = estimated(jr.key(3), LOGITS)
    p, scores = np.exp(LOGITS) / np.exp(LOGITS).sum(), np.asarray(drawn.scores, float)
    total = np.zeros(14)
    for m, (i, j) in enumerate(np.asarray(drawn.sets)):
        np.testing.assert_allclose(scores[m], score_of(POINTS[[i, j]], np.ones(2)), atol=2e-3)
        left = np.where(np.arange(14) == i, 0, p) / (1 - p[i])
        slope = np.eye(14)[i] - p + np.eye(14)[j] - left
        total += (scores[m] - np.delete(scores, m).mean()) * slope / SETS
    np.testing.assert_allclose(found[0], total, atol=2e-4)


def test_straight_through_is_the_slope_of_the_score_in_each_mask():
    """By differences of NumPy fits, carried back by the Jacobian of softmax."""
    found, drawn = estimated(jr.key(3), LOGITS)
    noisy = np.asarray(draw_sets(jr.key(3), jnp.asarray(LOGITS), 2, SETS)[1], float) / TAU
    soft = np.exp(noisy - noisy.max(axis=1, keepdims=True))
    soft /= soft.sum(axis=1, keepdims=True)
    weighted, moved = np.zeros(14), np.zeros(14)
    for p, pair in zip(soft, np.asarray(drawn.sets), strict=True):
        hard = np.eye(14)[pair].sum(axis=0)
        back = (np.diag(p) - np.outer(p, p)) / TAU / SETS
        # A weight cannot be below 0: a one-sided difference.
        join = [score_of(POINTS, hard + 1e-7 * e) - score_of(POINTS, hard) for e in np.eye(14)]
        weighted += back @ np.array(join) / 1e-7
        mask = lambda s, e, hard=hard: ((1 + s * e)[:, None] * POINTS, hard)
        ends = [[score_of(*mask(s, e)) for s in (1e-6, -1e-6)] for e in np.eye(14)]
        moved += back @ np.diff(ends, axis=1)[:, 0] / -2e-6
    # Slopes of a score where two near points were drawn are in the hundreds; float32.
    for one, wanted in ((found[1], weighted), (found[2], moved)):
        np.testing.assert_allclose(one, wanted, atol=float(3e-3 * np.linalg.norm(wanted)))


def test_a_mask_on_the_equations_of_a_minimal_set_has_no_slope():
    found = np.asarray(estimated(jr.key(3), LOGITS)[0])
    small = 1e-9 if found.dtype == np.float64 else 1e-4
    assert np.linalg.norm(found[3]) < small * np.linalg.norm(found[0])


def test_few_points_or_sets_and_a_bad_tau_are_refused():
    with pytest.raises(ValueError, match=r"shape of points = \(2, 2\) is refused; accepted: \(poi"):
        check(replace(module.example(), {"points": np.ones((2, 2))}))
    with pytest.raises(ValueError, match=r"tau = 0.0 is refused; accepted: a number above 0"):
        estimates(jr.key(0), jnp.zeros(14), POINTS, LINE, T, SETS, 0.0)
    with pytest.raises(ValueError, match=r"sets = 1 is refused; accepted: 2 or more"):
        estimates(jr.key(0), jnp.zeros(14), POINTS, LINE, T, 1)
    with pytest.raises(
        ValueError, match=r"wrong = 0.9 is refused; accepted: a share from 0 to 0.8"
    ):
        two_views(0, wrong=0.9)


def test_exact_training_draws_good_pairs():
    record = demo()
    np.testing.assert_allclose(record["P_good"][0], 9 * 8 / (14 * 13), atol=1e-5)
    assert record.last("P_good") > 0.95
    assert record.last("expected") > 0.95 * record.last("best")
    np.testing.assert_allclose(record.last("p").sum(), 1, rtol=1e-5)


def test_after_both_drawn_points_are_dragged_off_only_what_forgets_finds_another_pair():
    odds = []
    for forgetting in (0.0, 0.02):
        method = replace(module.example(), {"forgetting": forgetting})
        learning = Run(method, 1300)
        learning.advance(301)
        moved = np.array(method.points)
        moved[1], moved[7] = (-0.6, 0.5), (0.6, -0.4)
        learning.turn(replace(method, {"points": moved}))
        learning.advance(1000)
        odds.append(learning.record.last("P_good"))
    # No draw decides the steps of exact training: these are 1e-8 and 0.97.
    assert odds[0] < 0.01
    assert odds[1] > 0.9


def test_the_score_function_has_no_bias_and_what_goes_through_the_model_has():
    """9,600 sets: by each entry's own deviation, 300 times measured."""
    record = demo()
    off = record["held.estimates"] - record["held.exact"][:, None]
    z = np.sqrt(300) * off.mean(axis=0) / np.maximum(off.std(axis=0), 1e-6)
    assert np.abs(z[0]).max() < 4.5
    for biased in (1, 2):
        assert np.abs(z[biased]).max() > 10


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "a pair is good with probability 0.99" in say(demo())


def changed(**columns):
    names = {name.replace("__", "."): values for name, values in columns.items()}
    return Record(demo().steps, {**demo().columns, **names})


def test_the_claim_refuses_points_that_are_all_as_likely():
    still = changed(P_good=demo()["held.P_good"], expected=demo()["held.expected"])
    assert not claim(still).holds


@pytest.mark.parametrize("other", [1, 2])
def test_the_claim_refuses_straight_through_as_the_exact_gradient(other):
    seen = demo()["held.estimates"].copy()
    seen[:, 0] = seen[:, other]
    assert not claim(changed(held__estimates=seen)).holds


def test_the_claim_refuses_a_turned_sign_and_a_mask_that_does_not_cancel():
    seen = demo()["held.estimates"]
    turned = seen * np.array([-1.0, 1, 1, 1])[None, :, None]
    assert not claim(changed(held__estimates=turned)).holds
    assert not claim(changed(held__estimates=seen[:, [0, 1, 2, 2]])).holds


def test_right_matches_are_carried_by_the_true_homography():
    views = two_views(2, pairs=3)
    for matches, right, truth in zip(views.matches, views.right, views.truth, strict=True):
        carried = np.asarray(truth).reshape(3, 3) @ np.c_[matches[:, :2], np.ones(24)].T
        off = np.linalg.norm(carried[:2].T / carried[2:].T - matches[:, 2:], axis=1)
        assert off[right].max() < 0.05  # five deviations of 0.01
        assert np.median(off[~right]) > 0.3
        assert right.sum() == 10


@pytest.mark.slow
def test_the_score_function_over_100_000_sets_is_the_exact_gradient():
    keys = jr.split(jr.key(0), 3125)
    found = np.asarray(jax.lax.map(lambda key: estimated(key, LOGITS)[0][0], keys), float)
    gradient = np.asarray(by_pairs(LOGITS).gradient)
    z = (found.mean(axis=0) - gradient) / (found.std(axis=0) / np.sqrt(3125))
    assert np.abs(z).max() < 4


@pytest.mark.slow
def test_over_ten_data_sets_the_score_function_learns_and_straight_through_does_not():
    settings = [{"points": line_points(seed), "key": seed} for seed in range(10)]
    odds, cosines = {}, []
    for name in ("exact", *ESTIMATORS[:3]):
        several = fan(replace(module.example(), {"estimator": name}), 300, over=settings, every=300)
        odds[name] = several.column("P_good")[:, -1]
        print(name, odds[name].round(3))
    for setting in settings:
        changes = {"points": setting["points"], "lr": 1e-12}
        held = run(replace(module.example(), changes), 300)
        cosines.append([errors(held)[name][0] for name in ESTIMATORS])
    print(np.round(cosines, 2))
    cosines = np.array(cosines)
    assert odds["exact"].min() > 0.95
    assert odds["score function"].min() > 0.9  # 0.95 was seen: forgetting costs some
    assert (odds["weighted fit"] < 0.5).sum() >= 5
    assert cosines[:, 0].min() > 0.99
    assert cosines[:, 1].max() < 0.9
    assert np.abs(cosines[:, 2]).max() < 0.9


@pytest.mark.slow
def test_the_line_found_is_as_good_as_other_robust_fits():
    from sklearn.linear_model import RANSACRegressor

    off = {"learned": [], "sklearn": [], "least squares": []}
    at = np.array([-1.0, 1.0])
    miss = lambda slope, height: np.abs(slope * at + height - (0.5 * at + 0.1)).max()
    for seed in range(8):
        points = line_points(seed)
        record = run(replace(module.example(), {"points": points}), 300, every=300)
        a, b, c = record.last("models")[record.last("score").argmax()]
        off["learned"].append(miss(-a / b, -c / b))
        x, y = points.T
        other = RANSACRegressor(residual_threshold=0.15, random_state=0).fit(x[:, None], y)
        off["sklearn"].append(miss(other.estimator_.coef_[0], other.estimator_.intercept_))
        off["least squares"].append(miss(*np.polyfit(x, y, 1)))
    print({name: np.round(values, 2) for name, values in off.items()})
    assert np.median(off["learned"]) < 0.15
    assert np.median(off["learned"]) < np.median(off["least squares"]) / 2


@pytest.mark.slow
def test_sampling_learned_on_some_views_finds_others():
    for key in (0, 1, 2):
        record = run(two_view_sampling.example(), 150, every=10, key=key)
        two_view_sampling.claim(record).check()
        assert "uniform: 0.020" in two_view_sampling.say(record)
    for name in ("weighted fit", "equations"):
        other = replace(two_view_sampling.example(), {"estimator": name})
        assert not two_view_sampling.claim(run(other, 150, every=10)).holds


@pytest.mark.slow
def test_uniform_draws_find_as_many_pairs_as_those_of_another_library():
    from skimage.measure import ransac
    from skimage.transform import ProjectiveTransform

    views = two_views(1, 40)
    found = []
    for pair in range(40):
        x, y = np.split(np.asarray(views.matches[pair], float), 2, axis=1)
        model, _ = ransac(
            (x, y), ProjectiveTransform, 4, residual_threshold=0.05, max_trials=16, rng=pair
        )
        right, truth = np.asarray(views.right[pair]), np.asarray(views.truth[pair]).reshape(3, 3)
        wanted = ProjectiveTransform(truth)(x[right])
        off = np.linalg.norm(model(x[right]) - wanted, axis=1) if model else np.inf
        found.append(np.mean(off) < 0.05)
    ours = run(two_view_sampling.example(20), 20)["found_uniform"].mean()
    print(np.mean(found), ours)
    assert abs(np.mean(found) - ours) < 0.3  # 40 pairs; the other refits to all that agree
