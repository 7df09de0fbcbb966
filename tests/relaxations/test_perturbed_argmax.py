"""Perturbed optimizers against softmax, an integral, enumeration, SciPy, optax, and F018."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.sparse import lil_array
from scipy.sparse.csgraph import dijkstra
from scipy.stats import norm

from labkit import replace, run
from labkit.on_host import on_host
from labkit.record import Record
from labkit.relaxations import perturbed_argmax as module
from labkit.relaxations.perturbed_argmax import (
    claim,
    demo,
    fenchel_young,
    one_hot_solver,
    perturbed_argmax,
    say,
)


THETA, TAU, SAMPLES = jnp.array([1.0, 0.6, -0.5]), 0.7, 40_000


def softmax(theta, tau):
    return jax.nn.softmax(theta / tau)


@pytest.fixture(scope="module")
def gumbel():
    """Value, both Jacobians, the Hessian of the first share, and twice in tau: Gumbel noise."""
    y = lambda theta, tau: perturbed_argmax(
        jr.key(1), theta, tau, one_hot_solver, SAMPLES, "gumbel"
    )
    return [
        np.asarray(part) for part in jax.jit(lambda theta, tau: _orders(y, theta, tau))(THETA, TAU)
    ]


def _orders(y, theta, tau):
    # Forward mode: see the docstring of `perturbed_argmax`.
    hessian = jax.jacfwd(jax.jacfwd(lambda theta: y(theta, tau)[0]))(theta)
    twice = jax.jacfwd(jax.jacfwd(y, 1), 1)(theta, tau)
    return y(theta, tau), *jax.jacfwd(y, (0, 1))(theta, tau), hessian, twice


@pytest.mark.parametrize("order, deviation", [(0, 0.5), (1, 1.0), (2, 2.0), (3, 6.0), (4, 30.0)])
def test_gumbel_noise_gives_softmax_with_its_derivatives(gumbel, order, deviation):
    """A share deviates by 1 / 2 at most; a score of Gumbel noise by 1, over tau, each time
    it enters (twice in a Hessian, where their product has deviation 3).  That in tau is the sum of
    three with deviation 1.4, and enters twice in the last."""
    wanted = _orders(softmax, THETA, TAU)[order]
    slack = 5 * deviation / TAU / np.sqrt(SAMPLES)
    np.testing.assert_allclose(gumbel[order], wanted, atol=slack)


def test_normal_noise_on_two_choices_gives_the_normal_distribution():
    """y_1 = Phi((theta_1 - theta_2) / (tau sqrt 2)), with its derivatives."""
    theta, gap, width = jnp.array([0.5, 0.1]), 0.4, TAU * np.sqrt(2)
    y = lambda theta, tau: perturbed_argmax(jr.key(2), theta, tau, one_hot_solver, SAMPLES)
    value, (slope, in_tau) = jax.jit(lambda t, tau: (y(t, tau), jax.jacfwd(y, (0, 1))(t, tau)))(
        theta, TAU
    )
    slack = 5 / TAU / np.sqrt(SAMPLES)  # a share times a normal deviates by less than 1
    np.testing.assert_allclose(value[0], norm.cdf(gap / width), atol=slack)
    density = norm.pdf(gap / width) / width
    np.testing.assert_allclose(slope, density * np.array([[1, -1], [-1, 1]]), atol=slack)
    np.testing.assert_allclose(in_tau[0], -density * gap / TAU, atol=2 * slack)


def test_forward_and_reverse_mode_agree():
    y = lambda theta: perturbed_argmax(jr.key(3), theta, TAU, one_hot_solver, 50)
    forward, reverse = jax.jit(lambda theta: (jax.jacfwd(y)(theta), jax.jacrev(y)(theta)))(THETA)
    np.testing.assert_allclose(forward, reverse, atol=1e-6)


def test_long_sums_lose_nothing_in_reverse_mode():
    """Compiled with a fixed cotangent, XLA's fusions lost half of 20,000 samples at once."""
    y = lambda theta: perturbed_argmax(jr.key(6), theta, TAU, one_hot_solver, 20_001)[0]
    reverse, forward = jax.jit(jax.grad(y))(THETA), jax.jit(jax.jacfwd(y))(THETA)
    np.testing.assert_allclose(reverse, forward, atol=1e-5)


@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_the_jacobian_is_the_sample_covariance_with_the_score(noise):
    """As the formula reads, in NumPy, from the same noise."""
    y = lambda theta: perturbed_argmax(jr.key(4), theta, TAU, one_hot_solver, 200, noise)
    draw = {"normal": jr.normal, "gumbel": jr.gumbel}[noise]
    z = np.asarray(draw(jr.key(4), (200, 3)), float)
    score = z if noise == "normal" else 1 - np.exp(-z)
    centred = z if noise == "normal" else z - np.euler_gamma
    ones = np.eye(3)[(np.asarray(THETA) + TAU * centred).argmax(axis=1)]
    wanted = (ones - ones.mean(axis=0)).T @ score / 199 / TAU
    value, slope = jax.jit(lambda theta: (y(theta), jax.jacrev(y)(theta)))(THETA)
    np.testing.assert_allclose(value, ones.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(slope, wanted, atol=1e-5)


def test_optax_finds_the_same():
    """optax.perturbations has another baseline and the same mean."""
    samples = 4000
    theirs = optax.perturbations.make_perturbed_fun(
        one_hot_solver, samples, TAU, optax.perturbations.Gumbel()
    )
    ours = lambda key, t: perturbed_argmax(key, t, TAU, one_hot_solver, samples, "gumbel")
    slack = 5 * np.sqrt(2) / TAU / np.sqrt(samples)  # both deviate
    with_slope = lambda y: jax.jit(lambda t: (y(jr.key(5), t), jax.jacrev(y, 1)(jr.key(5), t)))
    for one, other in zip(with_slope(ours)(THETA), with_slope(theirs)(THETA), strict=True):
        np.testing.assert_allclose(one, other, atol=slack)


def test_the_perturbed_max_is_the_log_sum_of_exponentials_with_its_derivatives():
    none = jnp.zeros(3)
    f = lambda theta, tau: fenchel_young(
        jr.key(6), theta, none, tau, one_hot_solver, SAMPLES, "gumbel"
    )
    exact = lambda theta, tau: tau * jax.nn.logsumexp(theta / tau)
    slack = 5 * 1.28 / np.sqrt(SAMPLES)  # a Gumbel maximum deviates by 1.28 tau, its slope by 1.28
    found, wanted = (jax.value_and_grad(f, (0, 1))(THETA, TAU) for f in (f, exact))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=slack), found, wanted)


def test_the_fenchel_young_loss_has_the_gradient_y_tau_less_y():
    key, target = jr.key(7), jnp.array([0.2, 0.5, 0.3])
    loss = lambda theta: fenchel_young(key, theta, target, TAU, one_hot_solver, 200)
    wanted = perturbed_argmax(key, THETA, TAU, one_hot_solver, 200) - target
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(THETA), wanted, atol=1e-6)


def test_the_fenchel_young_loss_is_convex_and_no_sample_of_it_is_negative():
    random, target = np.random.default_rng(0), jnp.eye(3)[1]
    ends = random.normal(0, 2, (40, 2, 3)).astype(np.float32)
    loss = jax.jit(
        jax.vmap(lambda theta: fenchel_young(jr.key(8), theta, target, TAU, one_hot_solver, 7))
    )
    left, right, middle = (
        np.asarray(loss(jnp.asarray(e))) for e in (ends[:, 0], ends[:, 1], ends.mean(axis=1))
    )
    assert (middle <= (left + right) / 2 + 1e-5).all()
    assert min(left.min(), right.min()) >= -1e-6
    # 0 where every sample is answered as wanted, and above where not.
    assert loss(jnp.tile(50.0 * target[None], (40, 1)))[0] == 0
    assert left.max() > 1


def test_with_a_mean_for_a_target_it_is_zero_once_the_conjugate_is_added_and_only_there():
    """Gumbel noise: F_tau(theta) + tau sum y log y - <theta, y>."""
    theta = jnp.log(jnp.array([0.2, 0.5, 0.3])) * TAU
    loss = lambda y: (
        fenchel_young(jr.key(9), theta, y, TAU, one_hot_solver, SAMPLES, "gumbel")
        + TAU * (y * jnp.log(y)).sum()
    )
    slack = 5 * 1.28 * TAU / np.sqrt(SAMPLES)
    assert abs(loss(softmax(theta, TAU))) < slack
    other = jnp.array([0.3, 0.3, 0.4])
    wanted = TAU * (other * jnp.log(other / softmax(theta, TAU))).sum()
    np.testing.assert_allclose(loss(other), wanted, atol=slack)
    assert wanted > 2 * slack


def assignment(theta):
    y = np.zeros(theta.shape)
    y[linear_sum_assignment(theta, maximize=True)] = 1
    return y


def grid_path(theta):
    """The way from corner to corner of a grid with the largest sum of theta < 0, by Dijkstra."""
    rows, columns = theta.shape
    cost = np.maximum(-theta, 1e-9)  # a negative cost has no shortest path
    edges = lil_array((rows * columns, rows * columns))
    for (i, j), (di, dj) in itertools.product(np.ndindex(rows, columns), [(0, 1), (1, 0)]):
        if i + di < rows and j + dj < columns:
            edges[i * columns + j, (i + di) * columns + j + dj] = cost[i + di, j + dj]
    before, y = (
        dijkstra(edges.tocsr(), indices=0, return_predecessors=True)[1],
        np.zeros(theta.size),
    )
    at = theta.size - 1
    while at >= 0:
        y[at], at = 1, before[at]
    return y.reshape(theta.shape)


def answers(kind):
    """All answers there are, as [number, entries]."""
    if kind == "assignment":
        return np.array([np.eye(3)[list(p)].ravel() for p in itertools.permutations(range(3))])
    ways = []
    for down in itertools.combinations(range(4), 2):
        y, at = np.zeros((3, 3)), np.zeros(2, int)
        y[0, 0] = 1
        for step in range(4):
            at[0 if step in down else 1] += 1
            y[tuple(at)] = 1
        ways.append(y.ravel())
    return np.array(ways)


@pytest.mark.parametrize("kind, solver", [("assignment", assignment), ("path", grid_path)])
def test_a_solver_on_the_host_is_perturbed_as_its_enumeration_in_jax(kind, solver):
    every = jnp.asarray(answers(kind), jnp.float32)
    by_list = lambda theta: every[(every @ theta.ravel()).argmax()].reshape(3, 3)
    theta = jnp.asarray(np.random.default_rng(1).normal(-6, 1, (3, 3)), jnp.float32)
    found = [
        jax.jit(
            lambda theta, one=one: (
                perturbed_argmax(jr.key(0), theta, 0.5, one, 64),
                jax.jacrev(lambda t: perturbed_argmax(jr.key(0), t, 0.5, one, 64))(theta),
                jax.value_and_grad(
                    lambda t: fenchel_young(jr.key(0), t, by_list(theta), 0.5, one, 64)
                )(theta),
            )
        )(theta)
        for one in (by_list, on_host(solver))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *found)
    assert np.abs(found[0][1]).max() > 0.1


def test_learning_from_assignments_needs_no_derivative_of_the_solver():
    """Descent on the loss, by its gradient, ends where the solver gives the wanted answer."""
    wanted = jnp.asarray(np.eye(3)[[2, 0, 1]], jnp.float32)
    solver, theta = on_host(assignment), jnp.zeros((3, 3))
    slope = jax.jit(jax.grad(lambda theta, key: fenchel_young(key, theta, wanted, 1.0, solver, 20)))
    for key in jr.split(jr.key(0), 30):
        theta = theta - slope(theta, key)
    np.testing.assert_array_equal(assignment(np.asarray(theta)), wanted)
    # With the sign turned it ends as far from there as can be.
    assert (assignment(-np.asarray(theta)) * wanted).sum() == 0


def test_it_may_be_mapped_over_questions():
    thetas = jnp.stack([THETA, -THETA])
    for solver in (one_hot_solver, on_host(lambda theta: np.eye(3)[theta.argmax()])):
        y = lambda theta, solver=solver: perturbed_argmax(jr.key(0), theta, TAU, solver, 30)
        both, first = jax.jit(lambda t, y=y: (jax.vmap(y)(t), y(t[0])))(thetas)
        np.testing.assert_allclose(both[0], first, atol=1e-6)
        np.testing.assert_array_equal(both[0].argmax(), 0)
        np.testing.assert_array_equal(both[1].argmax(), 2)


def test_what_cannot_be_is_refused():
    call = lambda **k: perturbed_argmax(
        jr.key(0), THETA, **{"tau": 1.0, "solver": one_hot_solver, **k}
    )
    with pytest.raises(ValueError, match="samples = 1 is refused; accepted: 2 or more"):
        call(samples=1)
    with pytest.raises(ValueError, match="noise = 'uniform' is refused; accepted: 'normal' or"):
        call(noise="uniform")
    for tau in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
            call(tau=tau)
        with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
            fenchel_young(jr.key(0), THETA, THETA, tau, one_hot_solver)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "of softmax" in say(demo())


def changed(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_a_jacobian_without_one_over_tau():
    assert not claim(changed(slope=demo()["slope"] * demo()["tau"][:, None, None])).holds


def test_the_claim_refuses_a_turned_sign():
    assert not claim(changed(slope=-demo()["slope"])).holds


def test_the_claim_refuses_normal_noise():
    assert not claim(run(replace(module.example(), {"noise": "normal"}))).holds
