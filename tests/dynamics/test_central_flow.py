"""The central flow against closed forms, dense linear algebra, descent itself, and S029."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from labkit import curvature, from_loss, replace, run
from labkit.adaptive import RmsProp
from labkit.dynamics import central_flow
from labkit.dynamics.central_flow import CentralFlow, claim
from labkit.dynamics.flow_comparison import agreement, reached, smooth
from labkit.dynamics.gradient_flow import GradientFlow, travelled
from labkit.problems import EdgeToy, digits_network, sine_network
from labkit.record import Record
from labkit.rules import Momentum, Scheduled, Sgd
from labkit.run import Run


SLOW = lambda value: pytest.param(value, marks=pytest.mark.slow)
SINE = sine_network(samples=8, width=4, depth=1)
PLACE = 0.3  # how far from 0 the weights are where formulas are tried


def precise(problem):
    whole = lambda a: np.issubdtype(np.asarray(a).dtype, np.integer)
    return jax.tree.map(lambda a: a if whole(a) else np.asarray(a, float), problem)


@functools.cache
def compiled():
    """Of the small network: gradient, Hessian, and largest eigenvalue of P^-1 H; all dense."""
    problem = precise(SINE)
    unravel = ravel_pytree(problem.start(jax.random.key(0)))[1]
    loss = lambda x: problem.loss(unravel(x))

    def largest(x, p):
        root = jax.lax.rsqrt(p)
        return jnp.linalg.eigvalsh(root[:, None] * jax.hessian(loss)(x) * root[None])[-1]

    return jax.jit(jax.grad(loss)), jax.jit(jax.hessian(loss)), jax.jit(largest)


class Dense:
    """The small network at one place, by dense matrices: the second route."""

    def __init__(self, seed):
        self.problem = precise(SINE)
        start, self.unravel = ravel_pytree(self.problem.start(jax.random.key(0)))
        start = jnp.asarray(start, float)
        self.flat = start + PLACE * jax.random.normal(jax.random.key(seed), start.shape)
        self.g = compiled()[0](self.flat)
        self.w = self.unravel(self.flat)

    def H(self, x):
        return compiled()[1](x)

    def edge(self):
        """The largest eigenvalue of P^-1 H, as a function of place and p."""
        return compiled()[2]

    def motion(self, rule, directions=1, substeps=4, **options):
        """What the flow says here, with exact eigenvectors for a start."""
        flow = CentralFlow(self.problem, rule, directions, substeps, **options)
        state = rule.update(self.unravel(self.g), rule.init(self.w), self.w)[1]
        p = self.p(rule, state)
        root = 1 / np.sqrt(p)
        basis = np.linalg.eigh(root[:, None] * self.H(self.flat) * root[None])[1]
        basis = jnp.asarray(basis[:, ::-1][:, :directions])
        return jax.jit(flow.motion)(self.w, state, basis), state, p

    def p(self, rule, state):
        metric = ravel_pytree(rule.metric(state))[0] * rule.edge() / 2
        return np.broadcast_to(np.asarray(metric, float), self.flat.shape)


@functools.cache
def places(sharpening):
    """Places where a gradient step makes the loss sharper, or flatter, and grad S there."""
    found = []
    for seed in range(40):
        place = Dense(seed)
        slope = jax.grad(place.edge())(place.flat, jnp.ones_like(place.flat))
        found += [(place, slope)] * ((float(-place.g @ slope) > 0) == sharpening)
        if len(found) == 3:
            return found
    raise AssertionError("there are few such places")


# ------------------------------------------------------------------ one direction: closed forms


def test_gradient_descent_with_one_direction_is_the_closed_form(double):
    """sigma^2 = 2 <-g, grad S> / |grad S|^2: descent with its part along grad S projected out."""
    for place, slope in places(sharpening=True):
        sharpness = place.edge()(place.flat, jnp.ones_like(place.flat))
        lr = float(2 / sharpness)
        motion, _, _ = place.motion(Sgd(lr))
        variance = 2 * -(place.g @ slope) / (slope @ slope)
        # Sigma = X lr u u'; eigenvectors from dense matrices, so to rounding
        np.testing.assert_allclose(lr * motion.oscillation.X[0, 0], variance, rtol=1e-7)
        exact = -lr * (place.g + 0.5 * variance * slope)
        np.testing.assert_allclose(motion.velocity, exact, rtol=1e-6, atol=1e-9)
        assert abs(float(motion.velocity @ slope)) < 1e-8  # the sharpness stays
        assert float(motion.velocity @ place.g) <= 0  # and the loss falls


def test_where_the_valley_grows_flatter_nothing_oscillates(double):
    place, _ = places(sharpening=False)[0]
    lr = float(2 / place.edge()(place.flat, jnp.ones_like(place.flat)))
    motion, _, _ = place.motion(Sgd(lr))
    assert float(motion.oscillation.X[0, 0]) == 0
    np.testing.assert_allclose(motion.velocity, -lr * place.g, rtol=1e-12)


def scalar_variance(place, slope, sharpness, lr, beta2):
    """Scalar RMSProp at the edge lr S / sqrt(nu) = 2, from d/dt of that ratio = 0."""
    c, g2 = (1 - beta2) / beta2, float(place.g @ place.g)
    speed = -(2 / sharpness**2) * (place.g @ slope)
    speed -= (c / 2) * (4 * g2 / (lr**2 * sharpness**2) - 1)
    return speed / (slope @ slope / sharpness**2 + 2 * c / lr**2)


@pytest.mark.parametrize("beta2", [SLOW(0.5), SLOW(0.9), 0.99])
def test_scalar_rmsprop_with_one_direction_is_the_closed_form(double, beta2):
    for place, slope in places(sharpening=True):
        sharpness = float(place.edge()(place.flat, jnp.ones_like(place.flat)))
        # nu = |g|^2 at the start, so the step is lr / |g|: the edge is at this lr
        lr = 2 * float(jnp.linalg.norm(place.g)) / sharpness
        rule = RmsProp(lr, beta2, eps=1e-14, form="scalar")
        motion, _, p = place.motion(rule)
        variance = scalar_variance(place, slope, sharpness, lr, beta2)
        assert variance > 0
        np.testing.assert_allclose(motion.oscillation.X[0, 0] / p[0], variance, rtol=1e-6)
        exact = -(place.g + 0.5 * variance * slope) / p
        np.testing.assert_allclose(motion.velocity, exact, rtol=1e-5, atol=1e-8)


def test_the_two_limits_of_beta2_in_scalar_rmsprop(double):
    """beta2 -> 1: the variance of gradient descent; beta2 -> 0: lr^2 / 4 - |g|^2 / S^2."""
    place, slope = places(sharpening=True)[0]
    sharpness = float(place.edge()(place.flat, jnp.ones_like(place.flat)))
    g2 = float(place.g @ place.g)
    lr = 2 * np.sqrt(g2) / sharpness
    of = lambda beta2: place.motion(RmsProp(lr, beta2, eps=1e-14, form="scalar"))[0]
    descent = 2 * -(place.g @ slope) / (slope @ slope)
    slow = of(1 - 1e-6).oscillation.X[0, 0] * lr / np.sqrt(g2)
    np.testing.assert_allclose(slow, descent, rtol=1e-3)  # what is left of c at 1e-6
    # at the edge with nu = |g|^2 the second limit is 0: c large pulls the variance down
    forms = [scalar_variance(place, slope, sharpness, lr, b) for b in (0.5, 0.1, 0.01, 1e-4)]
    assert (np.diff(np.array(forms, float)) < 0).all()
    limit = lr**2 / 4 - g2 / sharpness**2
    last = scalar_variance(place, slope, sharpness, lr, 1e-9)
    np.testing.assert_allclose(last, limit, atol=1e-6 * descent)


# ------------------------------------------------------------------ any rule, several directions


def eigenvalue(rule, x, state):
    """Of P^-1 H, the largest, as a function of the weights and the rule's state."""
    metric = ravel_pytree(rule.metric(state))[0] * rule.edge() / 2
    return compiled()[2](x, jnp.broadcast_to(metric, x.shape))


@functools.cache
def rising(form="coordinatewise", begin="first gradient"):
    """A place, with a learning rate for which it is at the edge and would pass it.

    Gives the place, the rule, and how fast the eigenvalue would rise.
    """
    for seed in range(40):
        place, rule = Dense(seed), RmsProp(1.0, 0.9, eps=1e-6, form=form, begin=begin)
        state = rule.update(place.unravel(place.g), rule.init(place.w), place.w)[1]
        rule = replace(rule, {"lr": 2 / float(eigenvalue(rule, place.flat, state))})
        still = (-place.g / place.p(rule, state), rule.rate(state, place.unravel(place.g**2)))
        speed = jax.jvp(functools.partial(eigenvalue, rule), (place.flat, state), still)[1]
        if speed > 0.01:
            return place, rule, float(speed)
    raise AssertionError("there is no such place")


@pytest.mark.parametrize("form", ["coordinatewise", "scalar"])
@pytest.mark.parametrize("begin", ["first gradient", SLOW("zero, corrected")])
def test_an_eigenvalue_at_the_edge_does_not_move_along_the_flow(double, form, begin):
    """d/dt of the largest eigenvalue of P(t)^-1 H(w(t)), by dense differentiation, is 0."""
    place, rule, speed = rising(form, begin)
    motion, state, _ = place.motion(rule)
    assert float(motion.oscillation.X[0, 0]) > 0
    along = (motion.velocity, motion.rate)
    moved = jax.jvp(functools.partial(eigenvalue, rule), (place.flat, state), along)[1]
    assert abs(float(moved)) < 1e-6 * speed


def valleys(turn, cs, k=0.05):
    """Two valleys that grow steeper, u, v and u, v, in coordinates turned by `turn`."""

    def loss(w, turn):
        u1, v1, u2, v2 = turn @ w
        one = lambda u, v, c: v * u**2 / 2 - c * v + k * v**2 / 2
        return one(u1, v1, cs[0]) + one(u2, v2, cs[1])

    return loss, turn


def test_two_directions_at_once_have_the_variances_of_each_alone(double):
    """In turned coordinates.  How the two go together is left open: nothing depends on it."""
    lr, cs, k = 0.1, (1.05, 1.2), 0.05
    turn = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0])
    loss, data = valleys(turn, cs, k)
    start = turn.T @ jnp.array([0.0, 2 / lr, 0.0, 2 / lr])
    flow = CentralFlow(from_loss(loss, start, data), Sgd(lr), directions=3)
    state = run(flow, 1).state
    U = np.asarray(state.motion.pairs.vectors) * np.sqrt(lr)
    covariance = turn @ U @ np.asarray(state.motion.oscillation.X) @ U.T @ turn.T
    exact = [2 * (cs[0] - k * 2 / lr), 0, 2 * (cs[1] - k * 2 / lr), 0]
    np.testing.assert_allclose(np.diag(covariance), exact, atol=1e-8)
    np.testing.assert_allclose(turn @ state.w, [0, 2 / lr, 0, 2 / lr], atol=1e-8)
    assert int(state.motion.critical) == 2


def test_the_toy_ends_at_the_edge_with_the_variance_of_descents_orbit(double):
    lr, toy = 0.1, precise(EdgeToy(c=1.05, k=0.05, w0=np.array([0.05, 19.0])))
    flow = CentralFlow(toy, Sgd(lr), directions=1)
    state = run(flow, 600, every=10).state
    (u, v), orbit = state.w, toy.orbit(lr)
    assert float(v) == pytest.approx(2 / lr, abs=1e-6)
    variance = lr * float(state.motion.oscillation.X[0, 0])
    assert variance == pytest.approx(float(orbit[0, 0] ** 2), rel=1e-6)
    assert abs(float(u)) < 1e-6


def test_predicted_averages_are_those_of_the_quadratic_around_the_flow(double):
    """E L = L + <H, Sigma> / 2 and E |g|^2 = |g|^2 + tr(H Sigma H), by dense matrices."""
    place, slope = places(sharpening=True)[0]
    lr = 2 / float(place.edge()(place.flat, jnp.ones_like(slope)))
    for at, rule in ((place, Sgd(lr)), rising()[:2]):
        motion, _, p = at.motion(rule)
        U = np.asarray(motion.pairs.vectors) / np.sqrt(p)[:, None]
        covariance, H = U @ np.asarray(motion.oscillation.X) @ U.T, np.asarray(at.H(at.flat))
        assert np.trace(covariance) > 0
        excess = float(jnp.trace(motion.oscillation.X))
        assert excess == pytest.approx(np.sum(H * covariance) / 2, rel=1e-9)
        seen = float(motion.oscillation.squares.sum())
        assert seen == pytest.approx(np.trace(H @ covariance @ H), rel=1e-9)


# ------------------------------------------------------------------ without oscillation


def naive_stable(problem, start, rule, steps, substeps):
    """Euler steps of the stable flow in NumPy, for a coordinatewise RMSProp."""
    flat, unravel = ravel_pytree(start)
    w = np.asarray(flat, float)
    slope = jax.jit(lambda x: ravel_pytree(jax.grad(problem.loss)(unravel(x)))[0])
    nu = np.asarray(slope(w)) ** 2
    for _ in range(steps * substeps):
        g = np.asarray(slope(w))
        moved = w - rule.lr * g / (np.sqrt(nu) + rule.eps) / substeps
        nu = nu + (1 - rule.beta2) / rule.beta2 * (g**2 - nu) / substeps
        w = moved
    return w


def test_without_oscillation_it_is_the_stable_flow():
    rule = RmsProp(0.002, 0.9, eps=1e-3)
    flow = CentralFlow(SINE, rule, directions=2, terms="no oscillation")
    w = ravel_pytree(run(flow, 20, every=20).state.w)[0]
    start = run(flow, 0).state.w
    # gradients that are 0 but for rounding are divided by an eps of 0.001
    np.testing.assert_allclose(w, naive_stable(SINE, start, rule, 20, 4), atol=2e-5)


def test_below_the_edge_it_is_gradient_flow_to_first_order():
    flow = ravel_pytree(run(GradientFlow(SINE, Sgd(0.05)), 40, every=40).state.w)[0]
    error = lambda substeps: np.linalg.norm(
        ravel_pytree(run(CentralFlow(SINE, Sgd(0.05), 2, substeps), 40, every=40).state.w)[0] - flow
    )
    assert 1.7 < error(2) / error(4) < 2.3  # of first order: half the step, half the error


# ------------------------------------------------------------------ on the digits


SMALL = digits_network(samples=200, width=16, depth=1)


@pytest.mark.slow
def test_single_precision_is_enough(double):
    """Float32 against float64 over 300 steps, into the edge."""
    ends = []
    for dtype in (np.float32, np.float64):
        cast = lambda a, dtype=dtype: np.asarray(a, dtype)
        whole = lambda a: np.issubdtype(np.asarray(a).dtype, np.integer)
        problem = jax.tree.map(lambda a, cast=cast, whole=whole: a if whole(a) else cast(a), SMALL)
        start = jax.tree.map(lambda a: np.asarray(a, np.float32), SMALL.start(jax.random.key(0)))
        start = jax.tree.map(cast, start)
        held = from_loss(lambda w, p: p.loss(w), start, problem)
        record = run(CentralFlow(held, Sgd(0.6), 3, 2), 300, every=30)
        assert record["critical"].max() >= 1
        ends.append(record)
    one, two = (ravel_pytree(r.state.w)[0] for r in ends)
    way = 4.0  # the path is longer than that: seen 4.2
    assert np.linalg.norm(np.asarray(one) - np.asarray(two)) < 1e-4 * way


@pytest.mark.slow
def test_more_directions_than_are_at_the_edge_change_nothing():
    """Three are at the edge at most; the fourth to sixth only help to find them."""
    flow = CentralFlow(SMALL, Sgd(0.5), substeps=2)
    ends = [run(replace(flow, {"directions": k}), 300, every=30) for k in (4, 6)]
    assert ends[0]["critical"].max() in (1, 2, 3)
    a, b = (ravel_pytree(r.state.w)[0] for r in ends)
    assert np.linalg.norm(a - b) < 2e-3  # other eigenvectors to 1e-3, on a path of some 4


@pytest.mark.slow
def test_the_flow_follows_a_learning_rate_that_is_turned_in_mid_run():
    flow = CentralFlow(SMALL, Sgd(0.5), substeps=2)
    going = Run(flow, 500, every=5)
    going.advance(61)
    assert going.record.last("sharpness") == pytest.approx(4.0, rel=1e-3)
    going.turn(replace(flow, {"lr": 0.6}))
    going.advance(30)
    assert going.record.last("sharpness") == pytest.approx(2 / 0.6, rel=1e-3)
    assert going.record["loss"][-1] < going.record["loss"][60]


@pytest.mark.slow
def test_a_schedule_is_part_of_the_metric_and_the_flow_stays_at_its_edge():
    """With a rate that rises by a half the edge comes down; the flow keeps to it."""
    rule = Scheduled(Sgd(0.5), optax.linear_schedule(1.0, 1.5, 400))
    record = run(CentralFlow(SMALL, rule, substeps=2), 400, every=20)
    late = record["critical"] > 0
    assert late.sum() > 5
    assert (record["sharpness"] <= 1.001 * record["threshold"]).all()  # both in the metric
    raw = jax.jit(lambda w: curvature.sharpness(SMALL.loss, w))(record.state.w)
    assert float(raw) == pytest.approx(2 / (0.5 * 1.5), rel=2e-3)


def test_on_the_demonstration_the_flow_stays_at_the_edge_and_its_loss_falls():
    record = central_flow.demo()
    late = record.steps > 190
    assert (record["sharpness"] <= 1.001 * record["threshold"]).all()
    np.testing.assert_allclose(record["sharpness"][late], 5.0, rtol=1e-3)
    assert np.mean(np.diff(record["loss"]) <= 0) >= 0.99
    assert record["solver_residual"].max() < 1e-3  # of float32
    assert record["critical"].max() == 3


def test_on_the_demonstration_the_oscillation_alone_is_predicted_within_a_fifth():
    """Running means over 50 steps, a window and the first hundred steps at the edge left out."""
    record = central_flow.demo()
    mean = lambda values: smooth(values, record.steps, 50.0)
    inside = (record.steps > 290) & (record.steps < 450)
    actual = mean(record["descent.loss"] - record["loss"])
    np.testing.assert_allclose(mean(record["excess"])[inside], actual[inside], rtol=0.2)
    squared = mean(record["descent.gradient_norm"] ** 2)
    predicted = mean(record["mean_gradient_norm"] ** 2)
    np.testing.assert_allclose(predicted[inside], squared[inside], rtol=0.2)
    # at the flow itself there is next to nothing of it
    assert (mean(record["gradient_norm"] ** 2)[inside] < 0.03 * squared[inside]).all()


def test_the_distance_stays_a_small_part_of_the_way():
    record = central_flow.demo()
    first = reached(record)
    assert record["distance.central"][-1] <= 0.08 * travelled(record, start=first)


def test_the_claim_holds_on_the_demonstration():
    record = central_flow.demo()
    claim(record).check()
    assert "directions at the edge: 3" in central_flow.say(record)
    assert "below the edge" in central_flow.say(record.until(100))


def beside_as_in_the_demonstration(record):
    """The demonstration with another flow in the place of its own."""
    demo = central_flow.demo()
    columns = {**demo.columns, **record.columns}
    far = np.linalg.norm(record["w"] - demo["descent.w"], axis=1)
    return Record(demo.steps, {**columns, "distance.central": far})


FLAT = {"w": lambda s: ravel_pytree(s.w)[0]}


def test_the_claim_refuses_gradient_flow():
    demo = central_flow.demo()
    flow = {name: demo[f"flow.{name}"] for name in ("loss", "sharpness", "w")}
    flow["mean_loss"] = flow["loss"]
    assert not claim(beside_as_in_the_demonstration(Record(demo.steps, flow))).holds


@pytest.mark.slow
def test_the_claim_refuses_the_flow_without_oscillation():
    flow = replace(central_flow.example(), {"terms": "no oscillation"})
    assert not claim(beside_as_in_the_demonstration(run(flow, 500, every=3, probes=FLAT))).holds


def test_the_claim_refuses_a_record_that_never_came_to_the_edge():
    assert not claim(central_flow.demo().until(150)).holds
    assert np.isnan(agreement(central_flow.demo().until(150))).all()


# ------------------------------------------------------------------ what is refused, what stops


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rule": Momentum(0.1)}, "a rule that has a flow"),
        ({"directions": 14}, "at most 13, the number of parameters"),
        ({"terms": "no curvature gradient"}, "whose metric never changes"),
        ({"substeps": 1}, "a whole number, 2 or more"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    options = {"problem": SINE, "rule": Sgd(0.1), **change}
    with pytest.raises(ValueError, match=message):
        run(CentralFlow(**options), 1)


def test_a_flow_that_leaves_all_bounds_stops_and_keeps_what_it_saw():
    flow = CentralFlow(SINE, Sgd(1e6), directions=2, terms="no oscillation")
    record = run(flow, 40)
    assert any("ceased to be finite" in event.sentence for event in record.events)
    assert len(record) < 41
    assert np.isfinite(record["loss"][:-1]).all()


def test_running_means_keep_a_constant_and_take_out_a_period_of_two():
    steps = np.arange(200)
    np.testing.assert_allclose(smooth(np.full(200, 3.0), steps, 10.0), 3.0)
    assert np.abs(smooth((-1.0) ** steps, steps, 10.0))[50:150].max() < 1e-6
