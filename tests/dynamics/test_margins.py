"""Margins against a support vector machine, scans over all directions, and a loop in NumPy."""

import numpy as np
import pytest
from sklearn.svm import SVC

from labkit import check, run
from labkit.dynamics import margins
from labkit.dynamics.margins import NORMS, Margins, Separable, ratios, widest


ORDER = {"l1": 1, "l2": 2, "linf": np.inf}


def clouds(seed):
    """Four points on each side of the origin."""
    rng = np.random.default_rng(seed)
    side = np.repeat([[1.0], [-1.0]], 4, axis=0)
    return side * np.array([1.8, 1.0]) + rng.uniform(-0.9, 0.9, size=(8, 2))


def labelled(x):
    return np.concatenate([x[:4], -x[4:]])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("norm", NORMS)
def test_no_direction_has_a_wider_margin(norm, seed):
    z = labelled(clouds(seed))
    w, margin = widest(z, norm)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    tried = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    tried /= np.linalg.norm(tried, ORDER[norm], axis=1, keepdims=True)
    best = (tried @ z.T).min(axis=1).max()
    assert margin == pytest.approx(best, abs=1e-3)  # of the scan
    assert margin >= best - 1e-7
    assert (z @ w).min() / np.linalg.norm(w, ORDER[norm]) == pytest.approx(margin, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_in_l2_it_is_the_support_vector_machine(seed):
    z = labelled(clouds(seed))
    signs = np.repeat([1, -1], len(z))
    # both signs of every point, so that its intercept is 0
    machine = SVC(kernel="linear", C=1e8, tol=1e-8).fit(np.concatenate([z, -z]), signs)
    (w,) = machine.coef_
    assert widest(z, "l2")[1] == pytest.approx(1 / np.linalg.norm(w), rel=1e-4)
    np.testing.assert_allclose(widest(z, "l2")[0], w / np.linalg.norm(w), atol=1e-3)


def test_the_margin_in_a_norm_is_the_distance_to_the_line_in_the_dual_norm():
    """|w . z| / |w|_1 is how far z is from w . x = 0 in l-infinity; likewise the other way."""
    z, w = np.array([1.3, 0.4]), np.array([0.9, -0.3])
    line = np.linspace(-5, 5, 200_001)[:, None] * np.array([0.3, 0.9])
    for norm, dual in (("l1", np.inf), ("l2", 2), ("linf", 1)):
        far = np.linalg.norm(line - z, dual, axis=1).min()
        assert abs(w @ z) / np.linalg.norm(w, ORDER[norm]) == pytest.approx(far, abs=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_points_that_no_line_separates_have_no_margin(norm):
    z = np.array([[1.0, 0.2], [-1.0, -0.1], [0.1, 1.0], [-0.2, -1.0]])
    assert widest(z, norm)[1] == pytest.approx(0.0, abs=1e-7)
    record = run(Margins(Separable(np.concatenate([z[:2], -z[2:]]))), 20)
    assert "no line" in margins.say(record)


def test_the_descents_are_loops_in_numpy(double):
    record = run(Margins(), 30)
    z = labelled(np.array(margins.POINTS))
    for lane, norm in enumerate(NORMS):
        w = np.zeros(2)
        for t in range(30):
            weights = np.exp(-z @ w)
            g = -(weights / weights.sum()) @ z
            j = np.argmax(np.abs(g))
            d = {"l2": g / np.linalg.norm(g), "linf": np.sign(g)}.get(
                norm, np.eye(2)[j] * np.sign(g[j])
            )
            w = w - 0.5 / np.sqrt(t + 1) * d
        np.testing.assert_allclose(record.last("w")[lane], w, atol=1e-12)  # rounding
        length = np.linalg.norm(w, ORDER[norm])
        assert record.last("margin")[lane] == pytest.approx((z @ w).min() / length, abs=1e-12)


def test_each_norm_comes_to_its_own_widest_margin():
    """Over four sets of points, after 10,000 steps of 0.5 / sqrt(t)."""
    shares = [
        ratios(run(Margins(Separable(clouds(s))), 10_000, every=10_000))[-1] for s in range(4)
    ]
    worst = np.min(shares, axis=0)
    # seen: 0.9996, 0.9956, 1 at worst for gradient, coordinate, sign; never above 1
    assert (worst > 0.995).all(), worst
    assert np.max(shares) < 1 + 1e-5


def test_each_norm_comes_to_no_other_margin():
    """On the points of the example the three widest margins are in three directions."""
    record = run(margins.example(), 10_000, every=10_000)
    z, w = record.last("z"), record.last("w")
    for norm in NORMS:
        best = widest(z, norm)[1]
        shares = (w @ z.T).min(axis=1) / np.linalg.norm(w, ORDER[norm], axis=1) / best
        winner = shares.argmax()
        assert NORMS[winner] == norm
        assert np.delete(shares, winner).max() < 0.99


def test_a_single_point_is_refused():
    with pytest.raises(ValueError, match=r"x = .* is refused; accepted: points"):
        check(Separable(np.ones((1, 2))))
    with pytest.raises(ValueError, match="norm = 'l3' is refused; accepted: l1, l2 or linf"):
        widest(np.ones((2, 2)), "l3")
