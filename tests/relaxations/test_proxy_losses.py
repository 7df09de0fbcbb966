"""Angles to proxies, and the margins that are put on them.

The values of the losses are tested with the family, in test_embedding_loss.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit.relaxations.proxy_losses import angles, normalised_softmax, proxy_nca


def test_angles_are_exact_to_their_ends():
    theta = np.array([0.0, 1e-6, 0.5, np.pi / 2, 3.0, np.pi - 1e-6, np.pi])
    z = np.stack([np.cos(theta), np.sin(theta)], axis=1) * 3.0
    found = angles(jnp.asarray(z, jnp.float32), jnp.array([[0.5, 0.0]]))[:, 0]
    # an arc cosine in single precision is off by 5e-4 at 1e-6
    np.testing.assert_allclose(found, theta, atol=3e-7)


@jax.jit
@jax.vmap
def cost(theta, m1, m2, m3):
    """(loss, slope) of a point at an angle from its proxy, the other proxy opposite."""

    def loss(theta):
        z = jnp.stack([jnp.cos(theta), jnp.sin(theta)])[None]
        proxies = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
        return normalised_softmax(z, jnp.array([0]), proxies, 0.5, m1, m2, m3)

    return jax.value_and_grad(loss)(theta)


MARGINS = [(2.5, 0.0, 0.0), (1.0, 1.0, 0.0), (1.5, 0.5, 0.2), (1.0, 0.0, 0.35)]
ANGLES = np.linspace(0.0, 3.1, 40)


@pytest.mark.parametrize("margins", MARGINS)
def test_a_margin_pulls_towards_the_proxy_from_any_angle(margins):
    """Where cos(m1 theta + m2) itself rises again it would push the point off."""
    loss, slope = cost(ANGLES, *(np.full(40, m) for m in margins))
    assert (np.asarray(slope)[1:] > 0).all()
    assert np.isfinite(slope).all()
    m1, m2, m3 = margins
    before = m1 * ANGLES + m2 < np.pi
    target, other = (np.cos(m1 * ANGLES + m2) - m3) / 0.5, -np.cos(ANGLES) / 0.5
    wanted = np.log1p(np.exp(other - target))
    np.testing.assert_allclose(np.asarray(loss)[before], wanted[before], rtol=2e-5)  # float32
    if not before.all():
        assert (np.asarray(loss) > wanted)[~before].all()


def test_one_proxy_is_refused_where_others_are_asked_for():
    with pytest.raises(ValueError, match="number of proxies = 1 is refused; accepted: 2 or more"):
        proxy_nca(np.eye(2), np.array([0, 0]), np.ones((1, 2)))
