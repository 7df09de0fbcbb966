"""Rules and potentials against loops in NumPy, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import Descent, Sgd, run
from labkit.dynamics.geometries import (
    Difference,
    DifferenceFlow,
    Ellipsoid,
    HyperbolicEntropy,
    Mirror,
    Power,
    Reparameterized,
    SquaredNorm,
    StartedAt,
    Steepest,
    steepest,
)
from labkit.problems import LeastSquares


RNG = np.random.default_rng(0)
A = RNG.normal(size=(5, 12))
B = RNG.normal(size=5)
ROOT = RNG.normal(size=(12, 12))
P = ROOT @ ROOT.T / 12 + 0.5 * np.eye(12)
ORDER = {"l1": 1, "l2": 2, "linf": np.inf}
DUAL = {"l1": "linf", "l2": "l2", "linf": "l1"}


def equations():
    return LeastSquares(jnp.asarray(A), jnp.asarray(B))


def potentials(w0):
    return {
        "ellipsoid": Ellipsoid(jnp.asarray(P[: len(w0), : len(w0)])),
        "p 1.3": SquaredNorm(1.3),
        "p 3": SquaredNorm(3.0),
        "entropy": HyperbolicEntropy(0.1),
    }


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_no_step_of_length_one_gains_more_than_the_steepest(norm, double):
    g = RNG.normal(size=6)
    gain, along = steepest(jnp.asarray(g), norm)
    assert np.linalg.norm(along, ORDER[norm]) == pytest.approx(1.0, abs=1e-12)
    assert g @ np.asarray(along) == pytest.approx(float(gain), abs=1e-12)
    assert float(gain) == pytest.approx(np.linalg.norm(g, ORDER[DUAL[norm]]), abs=1e-12)
    tried = RNG.normal(size=(2000, 6))
    tried /= np.linalg.norm(tried, ORDER[norm], axis=1, keepdims=True)
    assert (tried @ g).max() <= float(gain) + 1e-12  # rounding


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("pace", ["gradient", "falling"])
def test_steepest_descent_is_a_loop_in_numpy(norm, pace, double):
    lr = 0.02
    record = run(Descent(equations(), Steepest(lr, norm, pace)), 20, probes={"w": lambda s: s.w})
    w = np.zeros(12)
    for t in range(20):
        g = A.T @ (A @ w - B) / 5
        d = {"l2": g / np.linalg.norm(g), "linf": np.sign(g), "l1": np.zeros(12)}[norm]
        if norm == "l1":
            j = np.argmax(np.abs(g))
            d[j] = np.sign(g[j])
        w = w - lr * (d @ g if pace == "gradient" else 1 / np.sqrt(t + 1)) * d
    np.testing.assert_allclose(record["w"][-1], w, atol=1e-12)  # rounding


def test_where_the_gradient_vanishes_nothing_moves():
    for norm in ORDER:
        gain, along = steepest(jnp.zeros(3), norm)
        assert float(gain) == 0.0
        np.testing.assert_array_equal(along, np.zeros(3))


@pytest.mark.parametrize("name", ["ellipsoid", "p 1.3", "p 3", "entropy"])
def test_the_two_mirror_maps_undo_each_other_and_are_gradients(name, double):
    w = RNG.normal(size=4)
    psi = potentials(w)[name]
    theta = psi.dual(jnp.asarray(w))
    np.testing.assert_allclose(psi.primal(theta), w, atol=1e-10)  # rounding, through powers
    slopes = [
        (psi.conjugate(theta + e) - psi.conjugate(theta - e)) / 2e-5 for e in 1e-5 * np.eye(4)
    ]
    np.testing.assert_allclose(slopes, w, atol=1e-7)  # of order 1e-10, less digits lost


def test_a_weight_of_zero_has_the_dual_weight_zero():
    for psi in (SquaredNorm(1.3), SquaredNorm(3.0), HyperbolicEntropy(0.1)):
        np.testing.assert_array_equal(psi.dual(jnp.zeros(3)), np.zeros(3))
        np.testing.assert_array_equal(psi.primal(jnp.array([0.0, 0.0, 1.0]))[:2], np.zeros(2))


def test_preconditioned_descent_is_mirror_descent_in_an_ellipsoid(double):
    rule = Mirror(Ellipsoid(jnp.asarray(P)), 0.01)
    record = run(Descent(equations(), rule), 20, probes={"w": lambda s: s.w})
    w = np.zeros(12)
    for _ in range(20):
        w = w - 0.01 * P @ A.T @ (A @ w - B) / 5
    np.testing.assert_allclose(record["w"][-1], w, atol=1e-12)  # rounding


@pytest.mark.parametrize("name, lr", [("p 1.3", 0.01), ("p 3", 0.01), ("entropy", 0.01)])
def test_mirror_descent_ends_where_the_conditions_of_least_potential_hold(name, lr, double):
    """grad psi(w) is a combination of the rows of A, and A w = b: by convexity the least."""
    psi = potentials(np.zeros(12))[name]
    w = run(Descent(equations(), Mirror(psi, lr)), 20_000, every=20_000).state.w
    theta = np.asarray(psi.dual(w))
    np.testing.assert_allclose(A @ w, B, atol=1e-6)  # by then the loss is below 1e-12
    rest = theta - A.T @ np.linalg.lstsq(A.T, theta)[0]
    assert np.abs(rest).max() < 1e-6 * np.abs(theta).max()  # rounding of 20,000 steps
    # and the test discriminates: the solution of least l2 norm does not pass it
    l2 = np.asarray(psi.dual(jnp.asarray(np.linalg.pinv(A) @ B)))
    assert np.abs(l2 - A.T @ np.linalg.lstsq(A.T, l2)[0]).max() > 1e-2 * np.abs(l2).max()


@pytest.mark.parametrize("a", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_small_steps_in_u_and_v_follow_their_mirror_map(a, start, double):
    form, w0 = Difference(0.4, a), jnp.full(12, start)
    problem = StartedAt(equations(), w0)
    theta, w = jnp.zeros(12), w0
    flow, lr = DifferenceFlow(form, w0), 2e-4
    descent = Descent(Reparameterized(problem, form), Sgd(lr))
    record = run(descent, 2000, every=2000)
    step = lambda _, t: t - lr * jax.grad(problem.loss)(flow.primal(t))
    theta = jax.lax.fori_loop(0, 2000, step, theta)
    # the dual weights theta = - integral of the gradient, both by Euler steps of 2e-4
    w = form.weights(record.state.w)
    assert np.abs(w - w0).max() > 0.1
    np.testing.assert_allclose(w, flow.primal(theta), atol=2e-3)


def test_with_two_as_its_power_the_map_is_the_hyperbolic_entropys(double):
    theta, w0 = jnp.linspace(-1.0, 1.0, 7), jnp.zeros(7)
    flow = DifferenceFlow(Difference(0.1, 2.0), w0)
    entropy = HyperbolicEntropy(2 * 0.1**2)
    np.testing.assert_allclose(flow.primal(theta), entropy.primal(4 * theta), atol=1e-12)
    # psi* is that of time running four times as fast, to a constant
    gain = lambda psi, t: psi.conjugate(t) - psi.conjugate(w0)
    np.testing.assert_allclose(gain(flow, theta), gain(entropy, 4 * theta) / 4, atol=1e-12)


def test_with_one_as_its_power_it_is_gradient_descent_at_twice_the_pace(double):
    both = {}
    for name, problem, lr in (
        ("pair", Reparameterized(equations(), Difference(0.3, 1.0)), 0.01),
        ("plain", equations(), 0.02),
    ):
        both[name] = run(Descent(problem, Sgd(lr)), 50).state.w
    np.testing.assert_allclose(both["pair"][0] - both["pair"][1], both["plain"], atol=1e-12)


def test_near_two_the_power_exponential_is_continuous(double):
    theta, w0 = jnp.linspace(-0.5, 0.5, 7), jnp.zeros(7)
    flows = [DifferenceFlow(Difference(0.5, a), w0).primal(theta) for a in (1.9989, 1.9991, 2.0)]
    np.testing.assert_allclose(flows[0], flows[1], atol=2e-3)
    np.testing.assert_allclose(flows[1], flows[2], atol=5e-3)


@pytest.mark.parametrize("a", [1.0, 2.0, 3.0])
def test_other_parameters_start_from_the_weights_they_stand_for(a, double):
    w = jnp.asarray(RNG.normal(size=5))
    for form in (Power(a), Difference(0.2, a)):
        np.testing.assert_allclose(form.weights(form.start(w)), w, atol=1e-12)


def test_a_power_moves_a_weight_at_the_rate_a_squared_w_to_the_two_minus_two_over_a(double):
    a, theta, lr = 3.0, 0.5, 1e-6
    w = theta**a
    problem = StartedAt(equations(), jnp.full(12, w))
    record = run(Descent(Reparameterized(problem, Power(a)), Sgd(lr)), 1)
    g = A.T @ (A @ np.full(12, w) - B) / 5
    moved = np.asarray(Power(a).weights(record.state.w)) - w
    np.testing.assert_allclose(moved, -lr * a**2 * w ** (2 - 2 / a) * g, rtol=1e-4)  # order lr
