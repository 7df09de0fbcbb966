"""The Lanczos spectrum against dense NumPy, and against F005."""

import jax.numpy as jnp
import numpy as np
import pytest

from labkit import run
from labkit.landscapes import lanczos_spectrum
from labkit.landscapes.lanczos_spectrum import LanczosSpectrum, claim
from labkit.problems import Quadratic, sine_network
from labkit.record import Record


def test_after_as_many_vectors_as_parameters_the_spectrum_is_exact():
    h = np.array([5.0, 3.0, 1.0, 0.5, -2.0])
    record = run(LanczosSpectrum(Quadratic(jnp.array(h)), order=5))
    np.testing.assert_allclose(record.last("ritz"), h, atol=5e-5)  # float32, five products
    np.testing.assert_allclose(record.last("exact"), h, atol=5e-6)


def test_the_exact_spectrum_of_a_network_is_that_of_its_dense_hessian():
    import jax
    from jax.flatten_util import ravel_pytree

    problem = sine_network(samples=8, width=4, depth=1)
    record = run(LanczosSpectrum(problem, order=4), key=2)
    w_key = jax.random.split(jax.random.split(jax.random.key(2))[0])[0]
    flat, unravel = ravel_pytree(problem.start(w_key))
    hessian = jax.jit(jax.hessian(lambda w: problem.loss(unravel(w))))
    dense = np.asarray(hessian(flat), float)
    exact = np.linalg.eigvalsh(dense)[::-1]
    np.testing.assert_allclose(record.last("exact"), exact, atol=1e-5 * exact[0])  # float32


def test_each_row_holds_one_ritz_value_more():
    record = lanczos_spectrum.demo()
    np.testing.assert_array_equal(record["ritz.count"], np.arange(1, 25))
    np.testing.assert_array_equal(np.isfinite(record["ritz"]).sum(axis=1), np.arange(1, 25))


def test_the_first_ritz_value_is_the_rayleigh_quotient_of_the_start():
    """A mean of the curvatures with the weights of a random vector: within their range."""
    first = [run(lanczos_spectrum.example(), 0, key=k)["ritz"][0, 0] for k in range(5)]
    assert 0.0 < min(first) < max(first) < 7.0
    assert np.ptp(first) > 1e-3  # another start, another quotient


def test_the_claim_holds_on_the_demonstration():
    claim(lanczos_spectrum.demo()).check()
    assert "exact: " in lanczos_spectrum.say(lanczos_spectrum.demo())


def test_the_claim_holds_on_every_other_row():
    claim(run(lanczos_spectrum.example(), every=2)).check()


def changed(record, ritz):
    return Record(record.steps, {**record.columns, "ritz": ritz})


def test_the_claim_refuses_values_of_another_matrix():
    """Without the off-diagonal beta, the values are the alphas, sorted: they do not interlace."""
    record = lanczos_spectrum.demo()
    alphas = np.random.default_rng(0).uniform(0.0, 1.0, 24)
    rows = [np.sort(alphas[: i + 1])[::-1] for i in range(24)]
    wrong = np.full((24, 24), np.nan)
    for row, values in zip(wrong, rows, strict=True):
        row[: len(values)] = values
    assert not claim(changed(record, wrong)).holds


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0])
def test_the_claim_refuses_a_wrong_sign_or_factor(factor):
    record = lanczos_spectrum.demo()
    assert not claim(changed(record, factor * record["ritz"])).holds


def test_more_vectors_than_parameters_are_refused():
    with pytest.raises(ValueError, match="order = 24 is refused; accepted: at most 3"):
        run(LanczosSpectrum(Quadratic(jnp.ones(3))))


def test_a_large_problem_goes_without_the_exact_spectrum():
    record = run(LanczosSpectrum(Quadratic(jnp.linspace(0.0, 1.0, 600)), order=5))
    assert record["exact"].shape == (5, 0)
    assert all(view(record).marks for view in lanczos_spectrum.views)
    assert "exact" not in lanczos_spectrum.say(record)
