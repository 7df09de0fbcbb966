"""Rules against optax, naive loops and closed forms; the edge against spectral radii."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from labkit.adaptive import Adam, RmsProp
from labkit.descent import Descent
from labkit.dynamics.gradient_flow import GradientFlow
from labkit.method import Scalar, check, fields, replace
from labkit.problems import Quadratic
from labkit.rules import (
    Chain,
    ClipNorm,
    Momentum,
    Optax,
    Scheduled,
    Sgd,
    as_rule,
    chain,
    check_flow,
    velocity,
)
from labkit.run import run


PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array(0.5)}
FORMS = ("heavy ball", "nesterov", "average")
LR, BETA = 0.05, 0.9
SAME = 1e-6  # float32: the same few products and sums, rounded in another order


def params():
    """In the precision of the test."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), PARAMS)


def gradients(steps=6):
    """As good as any: numbers of size one that differ from step to step."""
    numbers = np.random.default_rng(0).normal(size=(steps, 4))
    return [{"a": jnp.asarray(n[:3], float), "b": jnp.asarray(n[3], float)} for n in numbers]


def updates(rule, grads=None):
    """What the rule adds to the parameters, step by step."""
    state, seen = rule.init(params()), []
    updated = jax.jit(rule.update)
    for grad in grads or gradients():
        update, state = updated(grad, state, PARAMS)
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
        (
            RmsProp(LR, 0.8, 0.1, begin="zero"),
            optax.rmsprop(LR, decay=0.8, eps=0.1, eps_in_sqrt=False),
        ),
        (
            RmsProp(LR, 0.8, 0.1, begin="zero, corrected"),
            optax.rmsprop(LR, decay=0.8, eps=0.1, eps_in_sqrt=False, bias_correction=True),
        ),
        (Adam(LR, BETA, 0.8, 0.1), optax.adam(LR, BETA, 0.8, 0.1)),
        (Adam(LR, 0.0, 0.8, 0.1), optax.adam(LR, 0.0, 0.8, 0.1)),
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


# ------------------------------------------------------------------ adaptive rules

BEGINS = ("first gradient", "zero", "zero, corrected")
BETA2, EPS = 0.8, 0.1  # eps of a size that counts
ADAPTIVE = [
    RmsProp(LR, BETA2, EPS, form, begin)
    for form in ("coordinatewise", "scalar")
    for begin in BEGINS
] + [Adam(LR, BETA, BETA2, EPS)]


def flat(tree):
    return np.append(tree["a"], tree["b"]).astype(float)


def naive_adaptive(rule, grads):
    """The moves of RmsProp or Adam on four numbers, one line a formula."""
    nu, mu, moves = np.zeros(4), np.zeros(4), []
    for t, g in enumerate(map(flat, grads), start=1):
        square = g * g if getattr(rule, "form", "") != "scalar" else np.full(4, (g * g).sum())
        begin = getattr(rule, "begin", "zero, corrected")
        nu = rule.beta2 * nu + (1 - rule.beta2) * square
        if t == 1 and begin == "first gradient":
            nu = square
        shown = nu / (1 - rule.beta2**t) if begin == "zero, corrected" else nu
        ahead = g
        if isinstance(rule, Adam):
            mu = rule.beta1 * mu + (1 - rule.beta1) * g
            ahead = mu / (1 - rule.beta1**t)
        moves.append(-rule.lr * ahead / (np.sqrt(shown) + rule.eps))
    return np.array(moves)


@pytest.mark.parametrize("rule", ADAPTIVE, ids=str)
def test_an_adaptive_rule_is_that_of_a_naive_loop(rule, double):
    seen = np.array([flat(update) for update in updates(rule)])
    # A few dozen operations in float64 on numbers below one.
    np.testing.assert_allclose(seen, naive_adaptive(rule, gradients()), rtol=1e-12, atol=1e-15)


def test_the_first_step_from_zero_is_longer_by_the_root_that_the_correction_takes_back():
    first = [flat(updates(RmsProp(LR, 0.99, 1e-8, begin=begin))[0]) for begin in BEGINS]
    assert np.abs(first[0]) == pytest.approx(LR, rel=1e-5)  # lr g / |g|
    np.testing.assert_allclose(first[1], first[0] / np.sqrt(1 - 0.99), rtol=1e-5)
    np.testing.assert_allclose(first[2], first[0], rtol=1e-5)  # 1 - 0.99 in float32


@pytest.mark.parametrize("rule", ADAPTIVE, ids=str)
def test_zero_gradients_move_nothing_and_the_metric_there_has_finite_derivatives(rule):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    for update in updates(rule, [zero, zero]):
        assert np.array_equal(flat(update), np.zeros(4))
    after = lambda grads: rule.update(grads, rule.init(PARAMS), PARAMS)
    metric = lambda grads: rule.metric(after(grads)[1])
    np.testing.assert_allclose(np.concatenate(leaves(metric(zero))), scale(rule), rtol=1e-5)
    slopes = jax.jit(lambda g: (jax.jacrev(metric)(g), jax.jacrev(lambda g: after(g)[0])(g)))
    for slope in slopes(zero):
        assert all(np.isfinite(leaf).all() for leaf in leaves(slope))
    state = after(zero)[1]
    slope = jax.jit(jax.jacrev(lambda nu: rule.metric(state._replace(nu=nu))))(state.nu)
    assert all(np.isfinite(leaf).all() for leaf in leaves(slope))


def leaves(tree):
    return [np.ravel(leaf) for leaf in jax.tree.leaves(tree)]


def scale(rule):
    """The metric where no gradient ever was, after one step."""
    share = 1 - rule.beta1 if isinstance(rule, Adam) else 1.0
    return share * rule.eps / rule.lr


# ------------------------------------------------------------------ metric, flow


def last(rule, grads=None):
    """The last gradient, its update, and the states before and after it."""
    state = before = rule.init(params())
    update, grad = None, None
    for grad in grads or gradients():
        before = state
        update, state = rule.update(grad, before, PARAMS)
    return grad, update, before, state


def over(tree, metric):
    one = jax.tree.structure(metric) == jax.tree.structure(tree)
    return jax.tree.map(lambda a, d: a / d, tree, metric if one else dict.fromkeys(tree, metric))


HALVES = optax.exponential_decay(1.0, 1, 0.5)


def named(rule):
    """A test's name: no address of a function, which differs from process to process."""
    inside = f"-{named(rule.rule)}" if isinstance(rule, Scheduled) else ""
    return type(rule).__name__ + inside + getattr(rule, "form", "")


MEMORYLESS = [
    Sgd(LR),
    *ADAPTIVE[:-1],
    Scheduled(Sgd(LR), HALVES),
    Scheduled(ADAPTIVE[0], HALVES),
]


@pytest.mark.parametrize("rule", MEMORYLESS, ids=named)
def test_an_update_without_memory_is_the_gradient_over_the_metric_of_the_state_it_leaves(rule):
    grad, update, _, after = last(rule)
    expected = jax.tree.map(lambda g: -2.0 / rule.edge() * g, over(grad, rule.metric(after)))
    assert_close(update, expected)
    assert_close(velocity(rule, after, grad), expected)


def test_an_update_of_adam_is_its_mean_over_the_metric_of_the_state_it_leaves():
    rule = Adam(LR, BETA, BETA2, EPS)
    _, update, _, after = last(rule)
    assert_close(update, jax.tree.map(jnp.negative, over(after.mu, rule.metric(after))))


@pytest.mark.parametrize("rule", MEMORYLESS, ids=named)
def test_a_flow_starts_with_the_first_step_of_its_rule(rule):
    grad = gradients(1)[0]
    state = rule.update(grad, rule.init(params()), params())[1]
    update, after = rule.update(grad, rule.init(params()), params())
    assert_close(state, after)
    assert_close(velocity(rule, state, grad), update)


@pytest.mark.parametrize("rule", [r for r in MEMORYLESS if r is not MEMORYLESS[0]], ids=named)
def test_the_rate_at_the_new_state_is_the_change_that_made_it(rule, double):
    """nu' - nu = (1 - beta2) (s - nu), and with nu = nu' - change it is 1 / beta2 times that
    of (s - nu'): the flow knows only the state after the update.
    """
    grad, _, before, after = last(rule)
    change = jax.tree.map(lambda a, b: a - b, after, before)
    assert_close(rule.rate(after, jax.tree.map(jnp.square, grad)), change, 1e-12)


def test_the_rate_of_a_running_mean_is_that_of_the_discrete_one_for_slow_means(double):
    """The flow of nu under a constant square tends to the discrete mean as beta2 tends to 1."""
    errors = []
    for beta2 in (0.9, 0.99):
        rule, steps = RmsProp(LR, beta2, begin="zero"), round(1 / (1 - beta2))
        grad = jax.tree.map(jnp.ones_like, PARAMS)
        discrete = last(rule, [grad] * (steps + 1))[3].nu["b"]
        speed = rule.rate(rule.update(grad, rule.init(params()), params())[1], grad).nu["b"] / beta2
        flow = 1 - beta2 * np.exp(-speed * steps)
        errors.append(abs(flow - float(discrete)))
    assert errors[1] < 0.15 * errors[0]  # first order in 1 - beta2, which is a tenth


@pytest.mark.parametrize("rule", [Sgd(), RmsProp(), Scheduled(RmsProp(), HALVES)], ids=named)
def test_rules_without_memory_have_a_flow(rule):
    check_flow(rule)


@pytest.mark.parametrize(
    "rule", [Momentum(), Adam(), Optax(optax.sgd(LR)), Scheduled(Momentum(), HALVES)], ids=named
)
def test_a_rule_without_a_flow_is_refused(rule):
    with pytest.raises(ValueError, match=r"rule = .* is refused; accepted: a rule"):
        check_flow(rule)
    with pytest.raises(ValueError, match="a rule that has a flow, as Sgd and RmsProp do"):
        run(GradientFlow(Quadratic(), rule), 1)


# ------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    "schedule",
    [
        optax.cosine_decay_schedule(1.0, 4),
        optax.warmup_cosine_decay_schedule(0.1, 1.0, 2, 5),
        optax.piecewise_constant_schedule(1.0, {2: 0.1, 4: 0.5}),
        HALVES,
    ],
)
@pytest.mark.parametrize(
    "rule, theirs",
    [(Sgd(1.0), optax.identity()), (Momentum(1.0, BETA), optax.trace(BETA))],
    ids=["sgd", "momentum"],
)
def test_a_schedule_is_that_of_optax(rule, theirs, schedule):
    theirs = optax.chain(theirs, optax.scale_by_learning_rate(schedule))
    assert_close(updates(Scheduled(rule, schedule)), updates(theirs))


def test_a_schedule_scales_the_metric_and_leaves_the_edge():
    rule = Scheduled(Sgd(LR), HALVES)
    assert rule.edge() == Sgd(LR).edge()
    for steps in (1, 2, 4):  # the last update was half as long with every step
        state = last(rule, gradients(steps))[3]
        assert float(rule.metric(state)) == pytest.approx(2.0 ** (steps - 1), rel=SAME)


def test_a_step_of_length_zero_has_an_infinite_metric_and_no_velocity():
    rule = Scheduled(Sgd(LR), lambda t: jnp.where(t == 0, 0.0, 1.0))
    grad, update, _, state = last(rule, gradients(1))
    assert np.isinf(rule.metric(state))
    assert np.array_equal(flat(update), np.zeros(4))
    assert np.array_equal(flat(velocity(rule, state, grad)), np.zeros(4))


def test_a_rule_of_optax_takes_a_schedule():
    ours = run(Descent(Quadratic(), Scheduled(optax.sgd(LR), HALVES)), 8)
    theirs = run(Descent(Quadratic(), optax.sgd(lambda t: LR * HALVES(t))), 8)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)  # float32, eight steps


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


def test_the_knobs_of_an_adaptive_rule_compile_nothing(compilations):
    descent = Descent(Quadratic(), Adam(0.1, eps=1e-3))
    assert {"rule.lr", "rule.beta1", "rule.beta2", "rule.eps"} <= set(fields(descent))
    first = run(descent, 8)
    before = compilations.count
    for name, value in (("lr", 0.01), ("beta1", 0.5), ("beta2", 0.5), ("eps", 1.0)):
        assert not np.array_equal(run(replace(descent, {name: value}), 8)["loss"], first["loss"])
    assert compilations.count == before


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


def frozen(beta1, metric, H):
    """Adam with its metric held, as a matrix on (w, mu); beta1 = 0 is RMSProp."""
    eye, inverse = np.eye(len(H)), np.diag(1 / metric)
    mu = np.hstack([(1 - beta1) * H, beta1 * eye])
    return np.vstack([np.hstack([eye, 0 * eye]) - inverse @ mu, mu])


@pytest.mark.parametrize(
    "rule, edge",
    [
        (RmsProp(LR, BETA2, EPS), 2.0),
        (RmsProp(LR, BETA2, EPS, "scalar"), 2.0),
        (Adam(LR, 0.0, BETA2, EPS), 2.0),
        (Adam(LR, 0.5, BETA2, EPS), 6.0),
        (Adam(LR, 0.9, BETA2, EPS), 38.0),
    ],
    ids=str,
)
def test_with_its_metric_held_an_adaptive_rule_is_stable_up_to_its_edge(rule, edge, double):
    assert float(rule.edge()) == pytest.approx(edge, rel=1e-9)
    metric = np.concatenate(leaves(rule.metric(last(rule)[3]))) * np.ones(4)
    assert getattr(rule, "form", "") == "scalar" or np.ptp(metric) > 0.1
    B = np.random.default_rng(2).normal(size=(4, 4))
    H = B @ B.T
    top = np.linalg.eigvalsh(H / np.sqrt(np.outer(metric, metric)))[-1]
    radius = lambda share: np.abs(
        np.linalg.eigvals(frozen(getattr(rule, "beta1", 0.0), metric, share * edge / top * H))
    ).max()
    assert radius(1 - 1e-6) < 1.0 < radius(1 + 1e-6)


@pytest.mark.parametrize("share, grows", [(0.97, False), (1.03, True)])
def test_adam_itself_decays_below_its_edge_and_grows_above_when_nu_hardly_moves(
    share, grows, double
):
    rule = Adam(LR, 0.9, 1 - 1e-12, EPS)  # bounds are of the knob, not of the formula
    nu, zero = np.array([4.0, 0.25]), np.zeros(2)
    state = rule.init(jnp.zeros(2))._replace(nu=jnp.asarray(nu), count=jnp.asarray(1e14))
    metric = np.asarray(rule.metric(state))
    np.testing.assert_allclose(metric, (np.sqrt(nu) + EPS) / LR, rtol=1e-9)
    H = jnp.diag(jnp.asarray(metric * np.array([38.0 * share, 20.0])))

    def step(_, carry):
        w, state = carry
        update, state = rule.update(H @ w, state)
        return w + update, state

    w, _ = jax.lax.fori_loop(0, 40, step, (jnp.full(2, 1e-3), state._replace(mu=zero)))
    # Roots -1.345 above, of size 0.949 below; nu moves by some 1e-2 of itself at most.
    assert abs(float(w[0])) > 10.0 if grows else abs(float(w[0])) < 1e-3


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
