"""Deep tanh networks at the edge of chaos: which gain carries a gradient through all layers.

    x_l = tanh(g Q_l x_{l-1}),        J = dx_N / dx_0 = product of diag(1 - x_l^2) g Q_l

Below g = 1 each layer shrinks everything, and J with it as g^N.  Above it the activity settles
where tanh takes back what g gives.  With orthogonal Q_l and g a little above 1 most singular
values of J stay within a power of ten of 1, whatever the depth; only a tail goes to 0.  With
Gaussian weights of the same size they spread over many powers of ten: no gain helps that.

Source: S163, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from labkit.landscapes.linear_network import orthogonal
from labkit.method import choice, knob, pytree, size
from labkit.record import Record
from labkit.sweep import Sweep, sweep
from labkit.views import Band, Curve, Panel, View


@pytree
class TanhJacobian:
    """The singular values of the Jacobian of a random tanh network, by the gain of its layers."""

    activity: float = knob(0.5, 0.01, 3.0, log=True, about="root mean square of the inputs")
    layers: int = size(50, 1, 200)
    width: int = size(40, 2, 200, about="units of each layer")
    family: str = choice("orthogonal", "gaussian", about="of the weights")
    units: str = choice("tanh", "linear")
    seed: int = size(0, 0, 100)

    def __call__(self, gain: Float[Array, ""]) -> dict[str, Any]:
        key, first = jr.split(jr.key(self.seed))
        x = self.activity * jr.normal(first, (self.width,))

        def layer(carry, key):
            x, jacobian, scale = carry
            w = gain * self._weights(key)
            x = jnp.tanh(w @ x) if self.units == "tanh" else w @ x
            slope = 1.0 - x**2 if self.units == "tanh" else jnp.ones_like(x)
            jacobian = slope[:, None] * (w @ jacobian)
            # Fifty layers pass the range of float32: the size is kept apart, as a logarithm.
            norm = jnp.linalg.norm(jacobian)
            return (x, jacobian / norm, scale + jnp.log10(norm)), None

        start = (x, jnp.eye(self.width), jnp.zeros(()))
        (x, jacobian, scale), _ = jax.lax.scan(layer, start, jr.split(key, self.layers))
        sizes = jnp.linalg.svd(jacobian, compute_uv=False)
        # Below the rounding of the largest nothing is known: it is shown at that floor.
        floor = jnp.finfo(sizes.dtype).eps * sizes[0]
        logs = scale + jnp.log10(jnp.maximum(sizes, floor))
        return {"log_values": logs, "activity": jnp.sqrt(jnp.mean(x**2))}

    def _weights(self, key: Array) -> Array:
        if self.family == "orthogonal":
            return orthogonal(key, self.width, self.width)
        return jr.normal(key, (self.width, self.width)) / np.sqrt(self.width)


def example() -> Sweep:
    """Fifty layers of 40 units, gains from 0.8 to 1.4."""
    return sweep(TanhJacobian(), over=jnp.linspace(0.8, 1.4, 31), name="gain")


def spread(record: Record) -> Float[np.ndarray, " gains"]:
    """Powers of ten between the largest singular value and the median, at each gain."""
    return record["log_values"][:, 0] - np.median(record["log_values"], axis=1)


def values(record: Record) -> Panel:
    """The singular values of the Jacobian against the gain, none below the floor of rounding."""
    gain, logs = record["gain"], record["log_values"]
    low, median, high = np.quantile(logs, [0.25, 0.5, 0.75], axis=1)
    marks = [
        Band(gain, low, high, "half of them", "iterates 1"),
        Curve(gain, median, "median", "iterates 1"),
        Curve(gain, logs[:, 0], "largest", "iterates 2"),
        Curve(gain, np.zeros(len(gain)), "size kept", "threshold"),
    ]
    return Panel("Singular values of the Jacobian", marks, "gain g", "log10 of singular value")


def _activity(record: Record) -> Panel:
    marks = [Curve(record["gain"], record["activity"], "last layer", "iterates")]
    return Panel("Activity that arrives", marks, "gain g", "root mean square")


views: list[View] = [values, _activity]


def say(record: Record) -> str:
    """At which gain the median singular value is nearest one, and how the values spread there."""
    best = int(np.argmin(np.abs(np.median(record["log_values"], axis=1))))
    return (
        f"The median singular value is nearest 1 at gain {record['gain'][best]:.2f}; "
        f"there the largest is 10^{spread(record)[best]:.1f} times the median."
    )
