"""Rules against optax, naive loops and closed forms; the edge against 2 x 2 matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from labkit.descent import Descent
from labkit.method import Scalar, check, fields, replace
from labkit.problems import Quadratic
from labkit.rules import Chain, ClipNorm, Momentum, Optax, Sgd, as_rule, chain
from labkit.run import run


PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array(0.5)}
FORMS = ("heavy ball", "nesterov", "average")
LR, BETA = 0.05, 0.9
SAME = 1e-6  # float32: the same few products and sums, rounded in another order


def gradients(steps=6):
    """As good as any: numbers of size one that differ from step to step."""
    numbers = np.random.default_rng(0).normal(size=(steps, 4))
    return [{"a": jnp.asarray(n[:3], float), "b": jnp.asarray(n[3], float)} for n in numbers]


def updates(rule, grads=None):
    """What the rule adds to the parameters, step by step."""
    state, seen = rule.init(PARAMS), []
    for grad in grads or gradients():
        update, state = rule.update(grad, state, PARAMS)
        seen.append(update)
    return seen


def assert_close(one, other, tolerance=SAME):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------ against optax and naive loops


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (Sgd(LR), optax.sgd(LR)),
        (Momentum(LR, BETA), optax.sgd(LR, momentum=BETA)),
        (Momentum(LR, BETA, "nesterov"), optax.sgd(LR, momentum=BETA, nesterov=True)),
        (
            Momentum(LR, BETA, "average"),
            optax.chain(optax.ema(BETA, debias=False), optax.scale(-LR)),
        ),
        (ClipNorm(1.5), optax.clip_by_global_norm(1.5)),
        (ClipNorm(1e-3), optax.clip_by_global_norm(1e-3)),
        (ClipNorm(1e3), optax.clip_by_global_norm(1e3)),
        (
            chain(ClipNorm(1.5), Momentum(LR, BETA)),
            optax.chain(optax.clip_by_global_norm(1.5), optax.sgd(LR, momentum=BETA)),
        ),
    ],
)
def test_a_rule_is_that_of_optax(ours, theirs):
    assert_close(updates(ours), updates(theirs))


def test_the_average_is_a_plain_running_mean_of_the_gradients(double):
    mean, grads = np.zeros(4), gradients()
    seen = updates(Momentum(LR, BETA, "average"), grads)
    for grad, update in zip(grads, seen, strict=True):
        mean = BETA * mean + (1 - BETA) * np.append(grad["a"], grad["b"])
        # Six sums in float64.
        np.testing.assert_allclose(np.append(update["a"], update["b"]), -LR * mean, atol=1e-15)


def test_without_memory_every_form_is_gradient_descent():
    for form in FORMS:
        assert_close(updates(Momentum(LR, 0.0, form)), updates(Sgd(LR)))


def test_the_forms_differ_from_the_second_step_on():
    one, two, three = (updates(Momentum(LR, BETA, form))[1]["a"] for form in FORMS)
    for a, b in ((one, two), (two, three), (one, three)):
        assert np.abs(a - b).max() > 1e-3


# ------------------------------------------------------------------ clipping


def norm(tree):
    return float(optax.tree.norm(tree))


def test_a_gradient_within_the_norm_is_left_exactly_as_it_is():
    grad = gradients(1)[0]
    for most in (norm(grad) * 1.0001, 50.0, 1e30):
        kept, _ = ClipNorm(most).update(grad, ())
        assert all(np.array_equal(kept[name], grad[name]) for name in grad)


def test_a_gradient_above_the_norm_is_scaled_back_to_it_in_its_direction():
    grad = gradients(1)[0]
    clipped, _ = ClipNorm(0.25).update(grad, ())
    assert norm(clipped) == pytest.approx(0.25, rel=SAME)
    assert_close(jax.tree.map(lambda g: g * (0.25 / norm(grad)), grad), clipped)


def test_a_zero_gradient_stays_zero_and_has_a_derivative():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    clipped, _ = ClipNorm(1.0).update(zero, ())
    assert norm(clipped) == 0.0
    assert_close(updates(ClipNorm(1.0), [zero]), updates(optax.clip_by_global_norm(1.0), [zero]))
    slope = jax.grad(lambda g: ClipNorm(1.0).update(g, ())[0]["b"])(zero)
    assert_close(slope, {"a": jnp.zeros(3), "b": jnp.ones(())})  # the identity, near zero


# ------------------------------------------------------------------ chains


def test_our_rules_enter_a_chain_of_optax():
    mixed = optax.chain(ClipNorm(1.5), optax.trace(BETA), Sgd(LR))
    ours = chain(ClipNorm(1.5), Momentum(LR, BETA))
    assert_close(updates(mixed), updates(ours))


def test_rules_of_optax_enter_our_chain_and_descent():
    mixed = chain(optax.clip_by_global_norm(1.5), Momentum(LR, BETA))
    assert_close(updates(mixed), updates(chain(ClipNorm(1.5), Momentum(LR, BETA))))
    theirs = run(Descent(Quadratic(), optax.sgd(LR, momentum=BETA)), 8)
    ours = run(Descent(Quadratic(), Momentum(LR, BETA)), 8)
    # Losses fall from 5.5: rounding of eight steps.
    np.testing.assert_allclose(theirs["loss"], ours["loss"], rtol=1e-4, atol=1e-6)


def test_adam_of_optax_trains():
    record = run(Descent(Quadratic(), optax.adam(0.1)), 100)
    assert record.last("loss") < record["loss"][0] / 100


def test_a_rule_of_ours_is_taken_as_it_is_and_one_of_optax_is_wrapped_once():
    rule, theirs = Sgd(LR), optax.sgd(LR)
    assert as_rule(rule) is rule
    wrapped = as_rule(theirs)
    assert isinstance(wrapped, Optax)
    assert as_rule(wrapped) is wrapped
    assert isinstance(chain(rule), Chain)


def test_the_knobs_of_a_chain_stay_knobs_and_compile_nothing(compilations):
    descent = Descent(Quadratic(), chain(ClipNorm(5.0), optax.identity(), Momentum(LR, BETA)))
    names = {"rule.rules.0.most", "rule.rules.2.lr", "rule.rules.2.beta"}
    assert names <= set(fields(descent))
    first = run(descent, 8)
    before = compilations.count
    for name, value in (("most", 0.5), ("lr", 0.01), ("beta", 0.5), ("2.lr", 1)):
        turned = run(replace(descent, {name: value}), 8)
        assert not np.array_equal(turned["loss"], first["loss"])
    assert compilations.count == before


@pytest.mark.parametrize("changes", [{"lr": 0.0}, {"lr": -1.0}, {"beta": 1.1}, {"form": "adam"}])
def test_a_rule_that_makes_no_sense_is_refused(changes):
    [name] = changes
    with pytest.raises(ValueError, match=f"rule.{name} = .* is refused"):
        check(replace(Descent(Quadratic(), Momentum()), changes))


# ------------------------------------------------------------------ the edge


def companion(rule, h):
    """The step of the rule on h/2 w^2 as a matrix, its columns the steps of unit vectors."""
    if isinstance(rule, Sgd):
        return np.array([[1 - rule.lr * h]])
    columns = []
    for w, m in ((1.0, 0.0), (0.0, 1.0)):
        g = h * w
        if rule.form == "average":
            m = rule.beta * m + (1 - rule.beta) * g
            move = m
        else:
            m = rule.beta * m + g
            move = g + rule.beta * m if rule.form == "nesterov" else m
        columns.append([w - rule.lr * move, m])
    return np.array(columns).T


def largest_stable(rule):
    """Bisection over h in float64 for where the spectral radius passes 1."""
    stable = lambda h: np.abs(np.linalg.eigvals(companion(rule, h))).max() < 1
    low, high = 1e-3 / rule.lr, 1e4 / rule.lr
    assert stable(low)
    assert not stable(high)
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


RULES = [Sgd(LR), *(Momentum(LR, beta, form) for form in FORMS for beta in (0.0, 0.5, 0.9))]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_edge_is_where_the_spectral_radius_passes_one(rule):
    # At the edge a single real root passes -1: eigenvalues there are good to some 1e-15.
    assert float(rule.edge()) == pytest.approx(largest_stable(rule), rel=1e-9)


@pytest.mark.parametrize(
    "rule, edge",
    [
        (Sgd(LR), 2.0),
        (Momentum(LR, 0.9), 3.8),
        (Momentum(LR, 0.9, "nesterov"), 3.8 / 2.8),
        (Momentum(LR, 0.9, "average"), 38.0),
    ],
)
def test_the_edges_at_a_momentum_of_nine_tenths(rule, edge):
    assert float(rule.edge()) * LR == pytest.approx(edge, rel=1e-9)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_descent_decays_just_below_the_edge_and_grows_just_above(rule, double):
    def length(h):
        @jax.jit
        def iterate(w):
            def step(_, carry):
                w, state = carry
                update, state = rule.update(h * w, state, w)
                return w + update, state

            return jax.lax.fori_loop(0, 4000, step, (w, rule.init(w)))[0]

        return abs(float(iterate(jnp.ones(()))))

    edge = float(rule.edge())
    # One percent beyond the edge is a factor of 1.0005 a step or more: 4,000 steps show it.
    assert length(0.99 * edge) < 0.5
    assert length(1.01 * edge) > 2.0


def test_the_edge_is_a_number_of_the_knobs_and_has_a_derivative():
    slope = jax.grad(lambda lr: Momentum(lr, BETA).edge())(LR)
    assert slope == pytest.approx(-3.8 / LR**2, rel=SAME)
    assert isinstance(Sgd(LR).edge(), Scalar)


# ------------------------------------------------------------------ descent


def test_descent_on_a_quadratic_is_the_closed_form(double):
    h, w0 = np.array([1.0, 10.0, 19.0]), np.array([1.0, -2.0, 0.5])
    problem = Quadratic(jnp.asarray(h), w0=w0)
    record = run(Descent(problem, Sgd(0.1)), 20, probes={"w": lambda state: state.w})
    steps = record.steps[:, None]
    w = (1.0 - 0.1 * h) ** steps * w0
    # Twenty products in float64.
    np.testing.assert_allclose(record["w"], w, rtol=1e-13, atol=1e-15)
    loss = 0.5 * (h * w**2).sum(axis=1)
    np.testing.assert_allclose(record["loss"], loss, rtol=1e-12, atol=1e-15)
    norms = np.linalg.norm(h * w, axis=1)
    np.testing.assert_allclose(record["gradient_norm"], norms, rtol=1e-12, atol=1e-15)


def test_descent_above_the_edge_is_seen_to_diverge():
    record = run(Descent(Quadratic(), Sgd(1.0)), 1000)
    assert record.events[0].sentence.startswith("diverged at step ")
    # The largest square on the way is that of the gradient, (10 * 9^n)^2.
    most = np.finfo(record["loss"].dtype).max
    assert record.steps[-1] == np.ceil(np.log(most / 100) / np.log(81))
