"""The edge model against closed forms, against descent by its rule, and against F003."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from labkit import Adam, Momentum, RmsProp, Sgd, run
from labkit.dynamics import edge_model, edge_of_stability
from labkit.dynamics.edge_model import FLOOR, EdgeModel, claim
from labkit.dynamics.edge_of_stability import crossing, settled
from labkit.dynamics.gradient_flow import distance, travelled
from labkit.problems import Quadratic, digits_network


RULES = [
    Sgd(0.4),
    Momentum(0.6, 0.9),
    Momentum(0.22, 0.9, "nesterov"),
    Momentum(4.0, 0.9, "average"),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=["sgd", "heavy ball", "nesterov", "average"])


def test_on_a_quadratic_the_centre_descends_and_the_radius_grows_by_itself():
    h, lr = np.array([5.0, 1.0]), 0.5
    seen = {"centre": lambda s: s.centre, "direction": lambda s: s.direction}
    record = run(EdgeModel(Quadratic(jnp.array(h)), Sgd(lr)), 6, probes=seen)
    t = np.arange(7)
    np.testing.assert_allclose(record["centre"], (1 - lr * h) ** t[:, None], rtol=1e-5)
    # across, each step multiplies by |lr h - 1| = 1.5; differences of float32 at r = 1e-4
    np.testing.assert_allclose(record["radius"], FLOOR * 1.5**t, rtol=2e-2)
    np.testing.assert_allclose(np.abs(record["direction"]), [[1.0, 0.0]] * 7, atol=1e-5)


def test_below_the_edge_the_radius_stays_at_its_floor():
    record = run(EdgeModel(Quadratic(jnp.array([3.0, 1.0])), Sgd(0.5)), 8)
    np.testing.assert_allclose(record["radius"], FLOOR, rtol=1e-6)


def test_an_offset_that_becomes_0_exactly_starts_at_the_floor_again(key):
    model = EdgeModel(Quadratic(jnp.array([2.0, 1.0])), Sgd(0.5))  # x - 0.5 * 2 x
    across = model.init(key)._replace(centre=jnp.zeros(2), direction=jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(jax.jit(model.step)(across, key).offset, FLOOR, rtol=1e-6)


RECURSIONS = {  # x[t+1] from lr s, beta, x[t] and x[t-1], by hand
    "heavy ball": lambda q, b, x, y: (1 + b - q) * x - b * y,
    "nesterov": lambda q, b, x, y: (1 + b) * (1 - q) * x - b * (1 - q) * y,
    "average": lambda q, b, x, y: (1 + b - (1 - b) * q) * x - b * y,
}


@pytest.mark.parametrize("form", RECURSIONS)
def test_across_a_quadratic_valley_the_offset_obeys_the_recursion_of_its_form(form, double):
    """And with the sign that turns with every step taken out: x[t] = (-1)^t a[t]."""
    beta, lr = 0.8, 0.1
    rule = Momentum(lr, beta, form)
    h = 1.05 * float(rule.edge())  # beyond the edge, and so never at the floor
    problem = Quadratic(jnp.array([h, 0.1]), w0=np.array([0.3, 1.0]))
    model = EdgeModel(problem, rule)
    record = run(model, 12, probes={"offset": lambda s: s.offset})
    x = [FLOOR]
    for t in range(12):  # the trace is empty at first: as if x[-1] were what leaves it so
        if t == 0:
            ahead = {"heavy ball": 1.0, "nesterov": 1.0 + beta, "average": 1.0 - beta}[form]
            x.append(x[0] * (1 - ahead * lr * h))
        else:
            x.append(RECURSIONS[form](lr * h, beta, x[t], x[t - 1]))
    np.testing.assert_allclose(record["offset"], x, rtol=1e-8)
    a = (-1.0) ** np.arange(13) * x
    assert (a > 0).all()  # from wall to wall
    if form == "heavy ball":
        then = (lr * h - 1 - beta) * a[1:-1] - beta * a[:-2]
    elif form == "nesterov":
        then = (lr * h - 1) * ((1 + beta) * a[1:-1] + beta * a[:-2])
    else:
        then = (lr * (1 - beta) * h - 1 - beta) * a[1:-1] - beta * a[:-2]
    np.testing.assert_allclose(a[2:], then, rtol=1e-8)


@pytest.mark.parametrize("form", RECURSIONS)
def test_without_momentum_every_form_is_the_model_of_gradient_descent(form):
    problem = digits_network(samples=20, width=4)
    plain = run(EdgeModel(problem, Sgd(1.0)), 40)
    other = run(EdgeModel(problem, Momentum(1.0, 0.0, form)), 40)
    for name in ("loss", "radius", "sharpness"):
        # float32: 40 steps, differences at a radius of 1e-4
        np.testing.assert_allclose(other[name], plain[name], rtol=2e-3)


@pytest.mark.parametrize("form", RECURSIONS)
def test_far_below_the_edge_the_offset_swings_through_0_and_is_kept_at_the_floor(form):
    """The roots are complex there: x alone comes near 0, x and its trace together do not."""
    rule = Momentum(0.1, 0.9, form)
    h = 0.2 * float(rule.edge())
    probes = {
        "x": lambda s: s.offset,
        "alone": lambda s: rule.update(jnp.zeros_like(s.offset), s.memory)[0],
    }
    record = run(EdgeModel(Quadratic(jnp.array([h, 0.01])), rule), 60, probes=probes)
    size = np.hypot(record["x"], record["alone"])
    assert size.min() > 0.999 * FLOOR
    assert size.max() < 10 * FLOOR  # nor does scaling up add to it without end
    assert record["x"].min() < 0 < record["x"].max()


@each_rule
def test_a_step_is_one_of_the_rule_from_both_sides(rule, double):
    """Centre and offset are the mean and the half difference of two descents, their traces too."""
    problem = digits_network(samples=20, width=4)
    whole = lambda a: np.issubdtype(np.asarray(a).dtype, np.integer)
    problem = jax.tree.map(lambda a: a if whole(a) else np.asarray(a, float), problem)
    model = EdgeModel(problem, rule)
    state = jax.jit(lambda m, key: m.init(key))(model, jax.random.key(1))
    draw = lambda a: jax.random.normal(jax.random.key(a.size), a.shape, a.dtype)
    trace = jax.tree.map(draw, state.rule)
    memory = jax.tree.map(lambda a: 0.3 + a, state.memory)
    state = state._replace(offset=jnp.asarray(0.05), rule=trace, memory=memory)
    move = lambda w, by: jax.tree.map(lambda a, b: a + by * b, w, state.direction)

    @jax.jit
    def step(side):
        w = move(state.centre, side * 0.05)
        moves = [move(t, side * m) for t, m in zip(trace, memory, strict=True)]
        updates, after = rule.update(jax.grad(problem.loss)(w), type(trace)(*moves), w)
        return jax.tree.map(jnp.add, w, updates), after

    plus, minus = step(1.0), step(-1.0)
    after = jax.jit(lambda model, state: model.step(state, None))(model, state)
    jax.tree.map(
        lambda m, a, b: np.testing.assert_allclose(m, (a + b) / 2, rtol=1e-9, atol=1e-13),
        (after.centre, after.rule), plus, minus,
    )  # fmt: skip

    def half(a, b):
        both = zip(*map(jax.tree.leaves, (a, b, state.direction)), strict=True)
        return sum(jnp.vdot((x - y) / 2, u) for x, y, u in both)

    np.testing.assert_allclose(after.offset, half(plus[0], minus[0]), rtol=1e-8)  # an identity
    for seen, a, b in zip(after.memory, plus[1], minus[1], strict=True):
        np.testing.assert_allclose(seen, half(a, b), rtol=1e-8)


@pytest.mark.parametrize("rule", [RmsProp(), Adam()], ids=["rmsprop", "adam"])
def test_a_rule_that_is_not_linear_in_the_gradients_is_refused(rule):
    with pytest.raises(ValueError, match=r"rule = .* is refused; accepted: Sgd or Momentum"):
        run(EdgeModel(Quadratic(), rule), 1)


def test_the_demonstration_settles_at_the_edge_beside_descent():
    record = edge_model.demo()
    ratio = settled(record)["sharpness"] * 0.4
    assert 1.9 <= np.median(ratio) <= 2.1  # published for the prototype: 1.99 to 2.00
    assert distance(record)[-1] <= 0.08 * travelled(record, start=crossing(record))


def test_the_claim_holds_on_the_demonstration():
    record = edge_model.demo()
    claim(record).check()
    assert "the walls are felt" in edge_model.say(record)


def test_the_claim_refuses_a_model_whose_walls_are_not_felt(monkeypatch):
    """With the offset held at its floor, the centre is gradient descent itself."""
    step = EdgeModel.step
    held = lambda self, state, key: step(self, state, key)._replace(offset=state.offset)
    monkeypatch.setattr(EdgeModel, "step", held)
    # a probe of its own makes a program of its own, from the changed step
    probes = {"w": lambda s: ravel_pytree(s.centre)[0]}
    model = run(edge_model.example(), 500, every=3, probes=probes)
    assert not claim(model.beside(descent=edge_of_stability.demo())).holds


def beside_descent(rule, steps, seed):
    """The model and the descent of `rule` on the digits, midpoints in the column `descent.w`."""
    problem = digits_network(samples=300)
    descent = edge_of_stability.EdgeOfStability(problem, rule, directions=1)
    model = run(EdgeModel(problem, rule), steps, every=2, key=seed, probes={"w": centre})
    middle = lambda state: ravel_pytree(descent.midpoint(state))[0]
    return model.beside(descent=run(descent, steps, every=2, key=seed, probes={"w": middle}))


centre = lambda state: ravel_pytree(state.centre)[0]


# Seen at the end, over seeds 0, 1, 2: distance / way from the crossing 0.12, 0.035, 0.030 with
# the heavy ball and 0.10, 0.20, 0.07 with Nesterov's form; the centre's median sharpness / edge
# 0.99, 0.93, 0.97 and 0.99, 0.98, 1.00.  Gradient flow at lr / (1 - beta) ends 6 to 9 away, 0.7
# to 4 times the way.  Two descents that start 1e-3 apart end up to 0.43 and 0.35 apart.
@pytest.mark.slow
@pytest.mark.parametrize("rule, steps", [(RULES[1], 400), (RULES[2], 500)], ids=["heavy", "nag"])
def test_with_momentum_the_centre_settles_at_its_edge_and_stays_near_descent(rule, steps):
    away, sharp = [], []
    for seed in range(3):
        record = beside_descent(rule, steps, seed)
        way = travelled(record, "descent.w", start=crossing(record))
        away.append(distance(record)[-1] / way)
        late = settled(record)
        sharp.append(np.median(late["sharpness"] / late["threshold"]))
        assert late["radius"].max() > 30 * FLOOR  # the walls are felt
    assert np.median(away) < 0.2
    assert np.median(np.abs(np.array(sharp) - 1)) < 0.08


def test_without_a_trace_of_its_own_the_offset_of_the_heavy_ball_leaves_all_bounds(monkeypatch):
    """Across, it would be gradient descent with lr 0.6, beyond its edge; seen on three seeds."""
    step, rule = EdgeModel.step, RULES[1]
    plain = lambda s: s._replace(memory=rule.init(s.offset))
    monkeypatch.setattr(EdgeModel, "step", lambda self, s, key: plain(step(self, s, key)))
    probes = {"w": lambda state: ravel_pytree(state.centre)[0]}  # a program of its own
    record = run(EdgeModel(digits_network(samples=300), rule), 400, every=2, probes=probes)
    assert any("ceased to be finite" in event.sentence for event in record.events)
