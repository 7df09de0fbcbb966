"""Energies of single units: identities, exact ceilings, and where ascent ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import check, fields, replace, run
from labkit.landscapes import unit_energy
from labkit.landscapes.group_arithmetic import GroupArithmetic
from labkit.landscapes.unit_energy import (
    UnitEnergy,
    back_signal,
    energies,
    energy,
    normal_energy,
    purity,
    ridge,
    unit,
)
from labkit.method import resolve
from labkit.views import Curve


back_signal, energy, normal_energy, ridge = map(
    jax.jit, (back_signal, energy, normal_energy, ridge)
)
PART = GroupArithmetic(m=7, width=6, fraction=0.6)


def centred(problem, w):
    """F~ and Y~ over the pairs seen, in NumPy."""
    seen = np.asarray(problem.seen) > 0
    less_mean = lambda a: np.asarray(a)[seen] - np.asarray(a)[seen].mean(axis=0)
    return less_mean(problem.features(w)), less_mean(problem.y)


@pytest.mark.parametrize("eta", [0.01, 1.0])
def test_the_signal_that_comes_back_is_known_without_the_top_layer(eta, double):
    """Dense inverses in NumPy; 1e-10 is their rounding at the worst condition of 1e5."""
    f, y = centred(PART, PART.start(jax.random.key(0)).w)
    v = np.linalg.inv(f.T @ f + eta * np.eye(6)) @ f.T @ y
    np.testing.assert_allclose(ridge(jnp.asarray(f), jnp.asarray(y), eta), v, rtol=1e-9)
    signal = (y - f @ v) @ v.T
    found = np.asarray(back_signal(jnp.asarray(f), jnp.asarray(y), eta))
    assert np.abs(found - signal).max() < 1e-10 * np.abs(signal).max()
    # and it is the slope of the fit by the features
    fit = lambda f: -0.5 * jnp.sum((y - f @ v) ** 2)
    np.testing.assert_allclose(jax.grad(fit)(jnp.asarray(f)), signal, atol=1e-12)


def test_the_ridge_solution_is_where_the_loss_of_the_top_layer_is_flat(double):
    w = PART.start(jax.random.key(0))
    f, y = (PART.centred(jnp.asarray(a)) for a in (PART.features(w.w), PART.y))
    slope = jax.jit(jax.grad(PART.loss))(w._replace(v=ridge(f, y, PART.eta)))
    assert jnp.abs(slope.v).max() < 1e-13


def test_with_much_decay_no_unit_depends_on_another(double):
    """eta G_F - Y~Y~'F~ is of order |F~'F~| / eta, here 1e-6 of it or less."""
    f, y = map(jnp.asarray, centred(PART, PART.start(jax.random.key(0)).w))
    alone = np.asarray(y @ (y.T @ f))
    np.testing.assert_allclose(1e8 * back_signal(f, y, 1e8), alone, atol=1e-5 * np.abs(alone).max())


def test_without_decay_nothing_comes_back_from_a_top_layer_that_fits_all(double):
    """With more units than pairs G_F falls with eta; with fewer something stays."""
    wide = GroupArithmetic(m=5, width=60, fraction=0.8)  # of 20 pairs
    for problem, most in ((wide, 1e-6), (PART, np.inf)):
        f, y = map(jnp.asarray, centred(problem, problem.start(jax.random.key(0)).w))
        signal = np.abs(np.asarray(back_signal(f, y, 1e-8))).max()
        assert signal < most
    assert signal > 0.1


def test_the_energy_is_a_loop_over_pairs():
    w = np.asarray(PART.start(jax.random.key(0)).w, float)
    seen, table = np.asarray(PART.seen) > 0, PART.known.table
    pairs = [(a, b) for a in range(7) for b in range(7) if seen[7 * a + b]]
    expected = []
    for column in w.T:
        sums = np.zeros(7)
        share = np.bincount([table[pair] for pair in pairs], minlength=7) / len(pairs)
        for a, b in pairs:
            sums += (np.eye(7)[table[a, b]] - share) * (column[a] + column[7 + b]) ** 2
        expected.append(0.5 * (sums**2).sum())
    found = energy(PART, jnp.asarray(w), PART.centred(jnp.asarray(PART.y)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32


def test_over_the_whole_table_it_is_a_sum_over_frequencies(key):
    """E = 2/M sum_k |u_k v_k|^2 over k other than 0, by NumPy's transform."""
    w = np.asarray(GroupArithmetic(m=11, width=30).start(key).w, float)
    w = w / np.linalg.norm(w, axis=0)
    u, v = (np.fft.fft(part, axis=0)[1:] for part in np.split(w, 2))
    expected = 2 / 11 * (np.abs(u * v) ** 2).sum(axis=0)
    found = normal_energy(GroupArithmetic(m=11), jnp.asarray(5.0 * w))  # the length does not count
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32


def test_a_step_goes_along_the_gradient_of_the_energy(double):
    """X'(sigma'(Xw) * Y~Y~' sigma(Xw)) in NumPy, to rounding."""
    method = UnitEnergy(PART, lr=0.05)
    state = method.init(jax.random.key(3))
    w, table = np.asarray(state.w), PART.known.table
    a, b = np.divmod(np.arange(49), 7)
    seen = np.asarray(PART.seen) > 0
    x, y = np.hstack([np.eye(7)[a], np.eye(7)[b]])[seen], np.eye(7)[table[a, b]][seen]
    y -= y.mean(axis=0)
    slope = x.T @ (2 * (x @ w) * (y @ (y.T @ (x @ w) ** 2)))
    own = jax.grad(lambda w: energy(PART, w, method.target).sum())(state.w)
    np.testing.assert_allclose(own, slope, atol=1e-12 * np.abs(slope).max())
    moved = w + 0.05 / 0.6**2 * slope
    after = method.step(state, None).w
    np.testing.assert_allclose(after, moved / np.linalg.norm(moved, axis=0), atol=1e-12)


@pytest.mark.parametrize("m", [11, 17])
def test_ascent_ends_in_single_frequencies_at_a_quarter_of_m(m):
    record = run(UnitEnergy(GroupArithmetic(m=m, width=40, fraction=1.0)), 300, every=10)
    # 40 of 40 starts; what is left after 300 steps is float32.
    np.testing.assert_allclose(purity(record)[-1], 1.0, atol=1e-5)
    np.testing.assert_allclose(record.last("energy"), m / 4, rtol=1e-5)
    assert (np.diff(record["energy"], axis=0) > -1e-4).all()
    assert len(set(record.last("power").argmax(axis=1))) > 3  # not all in the same


@pytest.mark.parametrize("name, m", [("Z3 x Z3", 0), ("S3", 0), ("cyclic", 12)])
def test_each_unit_ends_at_the_ceiling_of_its_own_frequency(name, m):
    """Half and quarter of M / d: also where the frequencies have different ceilings."""
    problem = GroupArithmetic(name, m=m or 17, width=40, fraction=1.0)
    record = run(UnitEnergy(problem), 300, every=300)
    own = record.last("power").argmax(axis=1)
    np.testing.assert_allclose(purity(record)[-1], 1.0, atol=1e-5)
    np.testing.assert_allclose(record.last("energy"), problem.ceilings[own], rtol=1e-4)
    if name != "Z3 x Z3":
        assert len(set(problem.ceilings[own])) == 2


@pytest.mark.parametrize("problem", [GroupArithmetic(m=11), GroupArithmetic("S3")], ids=str)
def test_no_unit_is_above_the_highest_ceiling(problem, key):
    """A bound for every w: 3000 drawn ones, and some that are pure."""
    w = jax.random.normal(key, (2 * len(problem.known.table), 3000))
    assert normal_energy(problem, w).max() <= problem.ceilings.max() * (1 + 1e-5)
    pure = jnp.concatenate([problem.known.projectors[-1][:, :1]] * 2).astype(float)
    np.testing.assert_allclose(normal_energy(problem, pure), _pure(problem), rtol=1e-4)


def _pure(problem):
    """E by convolving the column of the last projector with itself, in NumPy."""
    u = problem.known.projectors[-1][:, 0] / np.linalg.norm(problem.known.projectors[-1][:, 0])
    star = np.zeros(len(u))
    np.add.at(star, problem.known.table, np.outer(u, u) / 2)
    return 2 * ((star - star.mean()) ** 2).sum()


def test_nobody_climbs_a_frequency_that_others_hold():
    held = replace(UnitEnergy(GroupArithmetic(m=11, width=40, fraction=1.0)), {"held": 3})
    record = run(held, 300, every=300)
    assert set(record.last("power").argmax(axis=1)) == {4, 5}


def test_what_is_held_is_what_a_ridge_of_such_units_explains(double):
    """16 units of frequency 2 at random phases; eta small leaves eta / |F~'F~| of it, 1e-4."""
    problem = GroupArithmetic(m=11, fraction=1.0)
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, 1, 16))
    turn = 2 * np.pi * 2 * np.arange(11)[None, :, None] / 11
    units = np.cos(turn + phase).reshape(22, 16)
    f, y = centred(problem, jnp.asarray(units))
    left = 1e-4 * np.linalg.solve(f @ f.T + 1e-4 * np.eye(121), y)
    p = problem.known.projectors
    np.testing.assert_allclose(left, y - y @ p[2], atol=1e-3)
    first = UnitEnergy(problem, held=2)
    np.testing.assert_allclose(first.target, y - y @ (p[1] + p[2]), atol=1e-12)


def test_a_unit_of_no_length_or_next_to_none_is_no_trouble():
    w = jnp.array([[0.0, 3e-30, 3.0], [0.0, 4e-30, 4.0]])
    np.testing.assert_allclose(unit(w), [[0, 0.6, 0.6], [0, 0.8, 0.8]], rtol=1e-6)


def test_more_frequencies_held_than_there_are_is_refused():
    with pytest.raises(ValueError, match="held = 9 is refused; accepted: at most 8, the freq"):
        check(UnitEnergy(held=9))


def test_the_picture_shows_the_ceilings_and_for_relu_none():
    record = run(UnitEnergy(GroupArithmetic("S3", width=4)), 4)
    assert [curve.label for curve in energies(record).marks if isinstance(curve, Curve)][4:] == [
        "ceiling 1.5",
        "ceiling 3",
    ]
    bent = run(UnitEnergy(GroupArithmetic("S3", width=4, activation="relu")), 4)
    assert len(energies(bent).marks) == 4
    assert "ceiling" not in unit_energy.say(bent)
    assert "ceiling at 3" in unit_energy.say(record)


@pytest.mark.parametrize("name", ["lr", "fraction"])
def test_the_whole_width_of_a_slider_can_be_run(name):
    method = UnitEnergy(GroupArithmetic(m=7, width=6))
    field = fields(method)[next(iter(resolve(method, {name: 0.0})))]
    for value in (field.low, field.high):
        record = run(replace(method, {name: value}), 50, every=10)
        assert len(record) == 6
        assert not record.events
