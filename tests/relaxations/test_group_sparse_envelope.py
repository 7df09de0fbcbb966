"""The envelope against its closed form, solvers of its definition and Moreau; then S121.

Arrays have one shape, (4, 7): each function compiles once for each precision.
"""

from dataclasses import replace as with_fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from labkit import fan, replace, run
from labkit.relaxations import envelope_path as path
from labkit.relaxations.group_envelope import conjugate, envelope, prox, shares
from labkit.relaxations.group_problems import grouped
from labkit.relaxations.group_sparse_envelope import (
    GroupSparseEnvelope,
    claim,
    demo,
    example,
    say,
)


J, SEVERAL = 7, 4
enveloped, conjugated, shared = jax.jit(envelope), jax.jit(conjugate), jax.jit(shares)
proxed = jax.jit(lambda v, k, lam, d: prox(v[..., None], k, lam, d)[..., 0])
ones = np.ones(J)


def vectors(seed=0):
    return np.random.default_rng(seed).normal(size=(SEVERAL, J))


def closed_form(z, k):
    """Half the squared k-support norm, by the r of Argyriou, Foygel and Srebro."""
    z = np.sort(z)[::-1]
    for r in range(k):
        tail = z[k - r - 1 :].sum() / (r + 1)
        above = np.inf if r == k - 1 else z[k - r - 2]
        if above > tail >= z[k - r - 1]:
            return 0.5 * ((z[: k - r - 1] ** 2).sum() + tail**2 * (r + 1))
    raise AssertionError("no r")


def epigraph(target, k, d, objective, ftol=1e-14):
    """min objective(y) + 1/2 (k s + sum t) with t_j >= y_j^2 / d_j - s: F* as a smooth program."""
    n = len(target)
    start = np.concatenate([target, [0.0], target**2 / d + 0.1])
    cost = lambda p: objective(p[:n]) + 0.5 * (k * p[n] + p[n + 1 :].sum())
    above = {"type": "ineq", "fun": lambda p: p[n + 1 :] - p[:n] ** 2 / d + p[n]}
    bounds = [(None, None)] * n + [(None, None)] + [(0, None)] * n
    options = {"maxiter": 500, "ftol": ftol}
    found = minimize(cost, start, bounds=bounds, constraints=[above], options=options)
    assert found.success, found.message
    return found


def test_the_shares_give_the_closed_form_of_the_k_support_norm(double):
    z = np.abs(vectors())
    for k in (1, 2, 3, 5, 7):
        exact = [closed_form(row, k) for row in z]
        np.testing.assert_allclose(enveloped(z, float(k), ones), exact, rtol=1e-12)
    np.testing.assert_allclose(enveloped(z, 1.0, ones), z.sum(1) ** 2 / 2, rtol=1e-12)
    np.testing.assert_allclose(enveloped(z, 7.0, ones), (z**2).sum(1) / 2, rtol=1e-12)


def test_the_envelope_is_the_biconjugate_also_with_weights_and_a_k_between(double):
    z, d = np.abs(vectors())[0], np.random.default_rng(1).uniform(0.3, 3.0, J)
    for k in (2.0, 3.5):
        found = epigraph(z, k, d, lambda y: -z @ y, ftol=1e-9)
        assert enveloped(np.tile(z, (SEVERAL, 1)), k, d)[0] == pytest.approx(-found.fun, rel=1e-5)


def test_the_conjugate_is_that_of_the_definition(double):
    """sup <x, y> - 1/2 sum d x^2 over supports of k: each adds y_j^2 / d_j / 2."""
    y, d = np.abs(vectors()), np.random.default_rng(1).uniform(0.3, 3.0, J)
    largest = np.sort(y**2 / d, axis=1)[:, ::-1].cumsum(axis=1) / 2
    for k in (1, 3, 7):
        np.testing.assert_allclose(conjugated(y, float(k), d), largest[:, k - 1], rtol=1e-12)
    # <x, y> <= F*(y) + S(x), with equality at the gradient.
    x = np.asarray(jax.grad(lambda y: conjugated(y, 3.0, d).sum())(y))
    both = conjugated(y, 3.0, d) + enveloped(x, 3.0, d)
    np.testing.assert_allclose(both, (x * y).sum(1), rtol=1e-10)
    assert (enveloped(np.abs(vectors(5)), 3.0, d) + conjugated(y, 3.0, d)).min() > 0


@pytest.mark.parametrize("k, lam", [(3.0, 0.5), (2.5, 3.0), (1.0, 0.1)])
def test_nothing_near_the_prox_is_lower_and_moreau_closes(double, k, lam):
    v, d = vectors(), np.random.default_rng(1).uniform(0.3, 3.0, J)
    x = np.asarray(proxed(v, k, lam, d))
    objective = lambda x: np.asarray(0.5 * ((x - v) ** 2).sum(1) + lam * enveloped(np.abs(x), k, d))
    random, least = np.random.default_rng(2), objective(x)
    for size in (1e-1, 1e-3):
        for _ in range(30):
            step = size * random.normal(size=x.shape)
            assert (objective(x + step) >= least - 1e-12).all()
            assert (objective(x + step * (x != 0)) >= least - 1e-12).all()
    # v = prox_(lam S)(v) + lam prox_(S* / lam)(v / lam), the second by a general solver.
    dual = epigraph(v[0] / lam, k, d, lambda y: 0.5 * lam * ((y - v[0] / lam) ** 2).sum()).x[:J]
    np.testing.assert_allclose(x[0] + lam * dual, v[0], atol=3e-5)  # what SLSQP leaves open


def test_exactly_k_stay_where_there_is_a_gap_and_nowhere_else(double):
    many = np.random.default_rng(3).normal(size=(2000, J))
    z = np.sort(np.abs(many), axis=1)[:, ::-1]
    kept = {}
    for lam in (0.1, 1.0, 5.0, 50.0):
        count = (np.asarray(proxed(many, 3.0, lam, ones)) != 0).sum(axis=1)
        gap = z[:, 2] / z[:, 3] >= 1 + 1 / lam
        np.testing.assert_array_equal(count == 3, gap)
        assert (count >= 3).all()
        kept[lam] = (count == 3).mean()
    # Of Gaussian vectors; the deviation of a share of 2,000 is 0.011 at most.
    np.testing.assert_allclose(list(kept.values()), [0.0, 0.09, 0.56, 0.94], atol=0.04)


def test_k_or_fewer_groups_shrink_as_in_ridge_regression_and_scales_go_through(double):
    v = vectors()
    v[:, 3:] = 0.0
    np.testing.assert_allclose(proxed(v, 3.0, 0.5, ones), v / 1.5, rtol=1e-12)
    np.testing.assert_allclose(proxed(v, 7.0, 0.5, ones), v / 1.5, rtol=1e-12)
    assert (np.asarray(proxed(0 * v, 3.0, 0.5, ones)) == 0).all()
    v = vectors()
    np.testing.assert_allclose(proxed(1e6 * v, 3.0, 0.5, ones), 1e6 * proxed(v, 3.0, 0.5, ones))
    eta = np.asarray(shared(np.abs(v), 2.5, 0.5, ones))
    np.testing.assert_allclose(eta.sum(axis=1), 2.5, rtol=1e-12)
    rows = np.random.default_rng(0).normal(size=(J, 3))  # groups of three
    norms = np.linalg.norm(rows, axis=1)
    shrunk = np.asarray(jax.jit(prox)(rows, 2.5, 0.5))
    scale = proxed(np.tile(norms, (SEVERAL, 1)), 2.5, 0.5, ones)[0] / norms
    np.testing.assert_allclose(shrunk, rows * np.asarray(scale)[:, None], rtol=1e-10)


def test_the_slope_of_the_envelope_is_that_of_differences(double):
    z, h = np.abs(vectors()) + 0.1, 1e-6
    slope = jax.jit(jax.grad(lambda z: envelope(z, 2.5).sum()))(z)
    for j in (0, 4):
        move = h * np.eye(J)[j]
        ends = [enveloped(z + s * move, 2.5, ones) for s in (1, -1)]
        np.testing.assert_allclose(slope[:, j], (ends[0] - ends[1]) / (2 * h), atol=1e-6)


def test_the_path_counts_k_from_its_threshold_on_and_the_ball_goes_from_octahedron_to_sphere():
    record = run(path.example())
    at = path.enough(record.last("v"), 2)
    assert at == pytest.approx(1.0 / (1.3 - 1.0), rel=1e-5)
    off = record["active"] != 2
    np.testing.assert_array_equal(off, record["lam"] < at)
    assert f"from lam {at:.3g} on there are k" in path.say(record)
    for k, norm in ((1.0, 1), (3.0, 2)):
        ball = run(replace(path.example(), {"k": k})).last("ball")
        np.testing.assert_allclose(np.linalg.norm(ball, norm, axis=1), 1.0, atol=1e-5)
    level = run(replace(path.example(), {"k": 2.5}))
    assert np.isnan(path.enough(level.last("v"), 2.5))
    assert "no lam leaves just k" in path.say(level)
    assert path.directions()[1].max() < len(path.directions()[0])


def test_a_step_of_each_penalty_is_that_of_numpy(double):
    rows = np.random.default_rng(0).normal(size=(24, 3))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    method = GroupSparseEnvelope(grouped(), k=4.0, lam=0.5, lr=0.4)
    step = lambda penalty: np.asarray(replace(method, {"penalty": penalty}).shrunk(jnp.array(rows)))
    np.testing.assert_allclose(step("envelope"), prox(jnp.array(rows), 4.0, 0.2), rtol=1e-12)
    lasso = rows * np.maximum(1 - 0.2 / norms, 0)
    np.testing.assert_allclose(step("group lasso"), lasso, rtol=1e-12)
    top = rows * (norms >= np.sort(norms, axis=0)[-4])
    np.testing.assert_array_equal(step("top k"), top)
    np.testing.assert_array_equal(step("none"), rows)
    assert (replace(method, {"penalty": "group lasso"}).shrunk(jnp.zeros((24, 3))) == 0).all()


def test_on_a_convex_problem_the_objective_falls_to_a_point_without_descent():
    problem = grouped()
    method = GroupSparseEnvelope(problem, k=4.0, lam=0.2, lr=0.02)
    record = run(method, 3000, every=100)
    fall = np.diff(record["objective"])
    assert (fall <= 2e-6 * record["objective"][:-1]).all()  # rounding of float32
    assert record["objective"][-2] == pytest.approx(record["objective"][-1], rel=1e-4)
    w = record.state.w
    level = record.last("objective")
    cost = jax.jit(
        lambda rows: (
            problem.loss(w._replace(rows=rows)) + 0.2 * envelope(jnp.linalg.norm(rows, axis=1), 4.0)
        )
    )
    random = np.random.default_rng(0)
    for size in (0.1, 0.01):
        for _ in range(10):
            step = size * random.normal(size=w.rows.shape)
            assert cost(w.rows + step.astype(w.rows.dtype)) >= level - 1e-5


def test_s121_training_leaves_the_groups_asked_for_and_loses_little():
    record = demo()
    assert claim(record).holds, str(claim(record))
    assert say(record).startswith("Step 300: 12 of 64 groups are left for k = 12; ")


def test_the_claim_refuses_no_penalty_too_weak_a_one_and_too_strong_a_one():
    beside = {"dense." + n.removeprefix("dense."): c for n, c in demo().columns.items()}
    dense = {n: beside[n] for n in beside if n == "dense.score"}
    for lam in (1e-4, 1.0):
        record = run(replace(example(), {"lam": lam}))
        assert not claim(with_fields(record, columns={**record.columns, **dense})).holds


def test_bad_input_is_refused_in_a_sentence():
    z = jnp.ones(3)
    with pytest.raises(ValueError, match=r"k = 0 is refused; accepted: a number above 0, the numb"):
        envelope(z, 0)
    with pytest.raises(ValueError, match=r"lam = 0.0 is refused; accepted: a number above 0"):
        prox(z[:, None], 1, 0.0)
    with pytest.raises(ValueError, match=r"d = -1.0 is refused; accepted: a number above 0"):
        conjugate(z, 1, -1.0)


@pytest.mark.slow
def test_over_five_seeds_k_are_left_where_lam_is_not_small():
    over = {"k": [8.0, 12.0, 24.0], "lam": [0.01, 0.05, 0.1], "key": 5}
    several = fan(example(), 300, over=over, every=300)
    table = {}
    for setting, record in zip(several.settings, several.records, strict=True):
        left = record.last("active") - setting["k"], record.last("score")
        table.setdefault((setting["k"], setting["lam"]), []).append(left)
    for (k, lam), seen in table.items():
        beyond, score = np.array(seen).T
        print(f"k {k}, lam {lam}: beyond {beyond}, score {score.mean():.3f} +- {score.std():.3f}")
        assert (beyond >= 0).all()
        assert lam < 0.1 or (beyond == 0).all()
        assert lam > 0.01 or (beyond > 0).all()


@pytest.mark.slow
def test_in_regression_the_envelope_finds_the_groups_but_a_group_lasso_fits_better():
    """Ten seeds, 60 samples, 24 groups, 4 of them true: groups found, left, variance explained.

    envelope, lam 0.2: 3.7, 8.4, 0.883 +- 0.016;  group lasso, lam 0.1: 4.0, 8.1, 0.933 +- 0.009;
    hard top 4: 1.8, 4, 0.660 +- 0.055;  no penalty: 3.7, 24, 0.772 +- 0.024.
    """
    seen = {}
    for penalty, lam in (("envelope", 0.2), ("group lasso", 0.1), ("top k", 0.1), ("none", 0.1)):
        rows = []
        for seed in range(10):
            problem = grouped(seed)
            method = GroupSparseEnvelope(problem, k=4.0, lam=lam, lr=0.02, penalty=penalty)
            record = run(method, 1500, every=1500)
            strongest = set(np.argsort(-record.last("norms"))[:4])
            true = np.flatnonzero(np.abs(np.asarray(problem.truth)).sum(axis=1))
            rows.append([len(strongest & set(true)), record.last("active"), record.last("score")])
        seen[penalty] = np.mean(rows, axis=0)
        print(penalty, seen[penalty])
    assert seen["envelope"][0] > 3
    assert seen["envelope"][2] > max(seen["top k"][2], seen["none"][2])
    assert seen["group lasso"][2] > seen["envelope"][2]
