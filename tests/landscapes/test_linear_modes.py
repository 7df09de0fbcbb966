"""The exact curves of the modes against closed forms, an integrator and each other."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import hyp2f1

from labkit import check, replace, run
from labkit.landscapes import linear_modes
from labkit.landscapes.linear_modes import ExactModes, half_time, learning_time, mode_strength
from labkit.method import resolve
from labkit.views import Curve, Points


S = np.array([3.0, 2.0, 1.0])
learning_time, mode_strength = (
    jax.jit(f, static_argnums=3) for f in (learning_time, mode_strength)
)
half_time = jax.jit(half_time, static_argnums=2)


def slope(t, u, args):
    layers, s = args
    return layers * u ** (2 - 2 / layers) * (s - u)


def integrated(times, s, u0, layers):
    """du/dt = N u^(2 - 2/N) (s - u), by an adaptive integrator."""
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Dopri8(),
        0.0,
        times[-1],
        1e-4,
        jnp.asarray(u0),
        args=(jnp.asarray(float(layers)), jnp.asarray(s)),
        saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
        stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-11),
        max_steps=100_000,
    )
    return np.asarray(found.ys)


@pytest.mark.parametrize("layers", [1, 2, 3, 10])
def test_the_curve_solves_the_equation_of_the_mode(layers, double):
    """From below the size and from above it."""
    times = np.linspace(0.01, 2 * float(half_time(jnp.array([1.5]), 0.01, layers)[0]), 40)
    for s, u0 in ((1.5, 0.01), (0.5, 0.8)):
        curve = jax.vmap(lambda t, s=s, u0=u0: mode_strength(t, jnp.array([s]), u0, layers)[0])
        # The sum over y has 2048 cells, read between two by a line: 1e-5 of s.
        wanted = integrated(times, s, u0, layers)
        np.testing.assert_allclose(curve(jnp.asarray(times)), wanted, atol=2e-5 * s)


@pytest.mark.parametrize("t", [0.0, 1.0, 2.5, 40.0])
def test_two_layers_follow_the_sigmoid(t, double):
    u0 = 1e-3
    sigmoid = S * np.exp(2 * S * t) / (np.exp(2 * S * t) - 1 + S / u0)
    np.testing.assert_allclose(mode_strength(t, jnp.asarray(S), u0, 2), sigmoid, rtol=1e-10)


def test_half_of_a_mode_is_learned_at_the_time_of_the_formula(double):
    halves = half_time(jnp.asarray(S), 1e-3, 2)
    np.testing.assert_allclose(halves, np.log(S / 1e-3 - 1) / (2 * S), rtol=1e-10)
    np.testing.assert_allclose(halves, [1.33434, 1.90010, 3.45338], atol=1e-5)  # by hand
    np.testing.assert_array_equal(half_time(jnp.asarray(S), 2.0, 2) > 0, [False] * 3)


def test_the_time_between_two_strengths_of_two_layers_is_a_logarithm(double):
    u0, uf = 0.01, np.array([2.9, 1.0, 0.3])
    wanted = np.log(uf * (S - u0) / (u0 * (S - uf))) / (2 * S)
    np.testing.assert_allclose(learning_time(jnp.asarray(uf), jnp.asarray(S), u0, 2), wanted)


@pytest.mark.parametrize("layers", [3, 4, 8, 64])
def test_the_time_of_more_layers_is_hypergeometric(layers, double):
    """The integral of v^-p / (s - v), by the series in v / s: v^(1-p) 2F1 / (s (1-p))."""
    u0, uf, q = 0.01, np.array([2.9, 1.0, 0.3]), 2 / layers - 1
    whole = lambda v: v**q / (S * q) * hyp2f1(1, q, q + 1, v / S)
    found = learning_time(jnp.asarray(uf), jnp.asarray(S), u0, layers)
    np.testing.assert_allclose(found, (whole(uf) - whole(u0)) / layers, rtol=1e-9)


def test_with_ever_more_layers_the_time_times_their_number_is_finite(double):
    """The limit of infinite depth: log(uf (s - u0) / (u0 (s - uf))) / s^2 + 1/(s u0) - 1/(s uf)."""
    u0, uf = 0.3, np.array([2.9, 1.0, 0.9])
    logs = np.log(uf * (S - u0) / (u0 * (S - uf)))
    limit = logs / S**2 + 1 / (S * u0) - 1 / (S * uf)
    found = 10_000 * learning_time(jnp.asarray(uf), jnp.asarray(S), u0, 10_000)
    np.testing.assert_allclose(found, limit, rtol=1e-3)  # 2 / N times logarithms of order one


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_time_and_strength_are_inverse_to_each_other(layers, double):
    uf, s = jnp.array([2.0, 1.9, 0.4]), jnp.asarray(S)
    times = np.asarray(learning_time(uf, s, 0.05, layers))
    back = np.array([mode_strength(t, s, 0.05, layers)[i] for i, t in enumerate(times)])
    np.testing.assert_allclose(back / S, uf / S, atol=2e-5)


@pytest.mark.parametrize("layers", [1, 2, 3, 8])
def test_every_start_is_kept_at_time_zero_and_ends_at_the_size(layers):
    s = jnp.array([0.5, 1.0, 2.0])  # above, at and below the start
    np.testing.assert_allclose(mode_strength(0.0, s, 1.0, layers), 1.0, rtol=1e-5)
    np.testing.assert_allclose(mode_strength(1e3, s, 1.0, layers), s, rtol=1e-5)


def test_the_loss_is_a_staircase_of_the_modes_not_yet_learned():
    record = run(linear_modes.example())
    s, halves = record.last("s"), half_time(jnp.asarray(record.last("s")), 1e-6, 2)
    for learned, time in enumerate([0.0, *np.sqrt(halves[1:] * halves[:-1])]):  # between steps
        row = np.argmin(np.abs(record["time"] - time))
        # Tails of the neighbouring steps are a few hundredths of the step.
        left = 0.5 * (s[learned:] ** 2).sum()
        np.testing.assert_allclose(record["theory_loss"][row], left, rtol=0.08)


def test_dragging_a_size_redraws_the_loss_without_a_new_program(compilations):
    method = linear_modes.example()
    run(method)
    before = compilations.count
    record = run(replace(method, {"s": np.array([3.0, 3.0, 0.2])}))
    assert compilations.count == before
    np.testing.assert_allclose(record["theory_loss"][0], 0.5 * 18.04, rtol=1e-4)
    (points,) = (m for m in linear_modes.task(record).marks if isinstance(m, Points))
    assert resolve(method, {points.edits: None}) == {"function.s": None}
    (curve,) = (m for m in linear_modes.staircase(record).marks if isinstance(m, Curve))
    np.testing.assert_array_equal(curve.y, record["theory_loss"])


@pytest.mark.parametrize("name, value", [("s", np.zeros(3)), ("u0", 0.0), ("layers", 0)])
def test_what_has_no_curve_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} = (?s:.*) is refused; accepted: "):
        check(replace(linear_modes.example(), {name: value}))


def test_it_says_how_many_modes_are_learned():
    record = run(linear_modes.example())
    assert "3 of 3 modes are half learned" in linear_modes.say(record)
    assert "1 of 3" in linear_modes.say(record.until(50))  # time 3.75
    assert isinstance(linear_modes.example().function, ExactModes)
