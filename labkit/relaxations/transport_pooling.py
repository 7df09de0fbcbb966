"""Pooling that leaves clutter out: weights from a transport of a part of the mass.

A bag of n features is pooled to sum_j w_j f_j.  The share mu of their mass has to go to
prototypes, at the squared distance c_ij of the unit vectors, and w says who goes:

    w_j = s_j / (n mu),    s_j = sigma(u + log k_j),    k_j = sum_i exp(-c_ij / tau),

with u such that the mean of s is mu (`partial_transport`).  tau > 0 is in units of the costs;
mu = 1 is average pooling.  The released code has tau = 1 / 20 and makes 100 rounds of

    v  <-  mu / sum_j rho_j k_j,      rho_j  <-  (1 / n) / (1 + v k_j),         u = log v

from rho = 1 / n.  In the end each round keeps the share sum s^2 / sum s >= mu of the error:
nearly all, where s is hard.  The method makes these rounds and, beside, Newton's, of which
a handful will do.  Derivatives are those of the weight of the wanted features in log k: unrolled
through all rounds so far, or in closed form at what the rounds have reached.

Look at the mass that has come to move, and at which derivative is right, and when.

Source: S041, Generalized Sum Pooling for Metric Learning.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Bool, Float

from labkit.claims import Claim
from labkit.errors import refusal
from labkit.method import Latest, Scalar, knob, method
from labkit.record import Record
from labkit.relaxations import bags
from labkit.relaxations.partial_transport import (
    Bracket,
    Transport,
    bracket,
    costs,
    newton_round,
    released_round,
    released_start,
    scaled_costs,
    transport,
)
from labkit.run import run
from labkit.views import Image, Panel, View, lines


class State(NamedTuple):
    u: Float[Array, ""]  # log v of the released iteration
    slope: Float[Array, " n"]  # du / dlog k, through all rounds so far
    newton: Bracket
    log_k: Float[Array, " n"]
    exact: Transport  # what both go to


@method
class TransportPooling:
    """The released rounds and Newton's side by side, on the patches of one picture."""

    image: Float[Array, "h w"]
    features: Float[Array, "n d"]  # one a patch, row by row
    informative: Bool[Array, " n"]  # which of them are wanted
    prototypes: Float[Array, "m d"]
    mu: Scalar = knob(0.15, 0.02, 1.0, within=(1e-3, 1.0), about="share of the mass that goes")
    tau: Scalar = knob(0.05, 0.01, 1.0, log=True, about="softness, in units of the costs")

    @property
    def steps(self) -> int:
        """As many rounds as in the released code."""
        return 100

    def check(self) -> None:
        n, pixels = len(self.features), (self.image.shape[0] - 2) * (self.image.shape[1] - 2)
        if not n == len(self.informative) == pixels:
            raise refusal("features", n, f"{pixels}, one for each 3x3 patch of the image")

    def init(self, key) -> State:
        del key
        cost = costs(self.features, self.prototypes)
        exact, log_k = transport(cost, self.mu, self.tau), scaled_costs(cost, self.mu, self.tau)[1]
        slope, newton = jnp.zeros_like(log_k), bracket(log_k, self.mu)
        return State(released_start(log_k), slope, newton, log_k, exact)

    def step(self, state: State, key) -> State:
        del key
        one = lambda u, log_k: released_round(u, log_k, self.mu)
        u, back = jax.vjp(one, state.u, state.log_k)
        along, direct = back(jnp.ones_like(u))
        newton = newton_round(state.newton, state.log_k, self.mu)
        slope = along * state.slope + direct
        return state._replace(u=u, slope=slope, newton=newton)

    def observe(self, state: State) -> dict[str, Any]:
        log_k, there = state.log_k, state.exact
        s, n = sigmoid(state.u + log_k), len(log_k)
        found, rest = sigmoid(state.newton.u + log_k), sigmoid(-state.newton.u - log_k)
        solved, left = there.weights * n * self.mu, there.residual * n
        wanted = jnp.asarray(self.informative, log_k.dtype)
        exact = _implicit(solved, left, wanted)
        unrolled = s * (1.0 - s) * wanted + (s * (1.0 - s) * wanted).sum() * state.slope
        return {
            "image": self.image,
            "weights": there.weights,
            "plan": Latest(there.plan),
            "mass": s.mean(),
            "newton_mass": found.mean(),
            "mu": jnp.asarray(self.mu, log_k.dtype),
            "on_wanted": (there.weights * wanted).sum(),
            "error": _apart(s, solved),
            "newton_error": _apart(found, solved),
            "unrolled_error": _apart(unrolled, exact),
            "closed_error": _apart(_implicit(s, 1.0 - s, wanted), exact),
            "newton_gradient_error": _apart(_implicit(found, rest, wanted), exact),
            "kept": (solved**2).sum() / solved.sum(),
        }


def _apart(seen: Array, exact: Array) -> Array:
    """The largest difference beside the largest entry; of equal arrays, rounding."""
    rounding = jnp.finfo(exact.dtype).eps
    return jnp.maximum(jnp.abs(seen - exact).max() / jnp.abs(exact).max(), rounding)


def _implicit(s: Array, rest: Array, wanted: Array) -> Array:
    """The derivative of <s, wanted> in log k, as if s were the solution."""
    q = s * rest
    return q * (wanted - (q * wanted).sum() / jnp.maximum(q.sum(), jnp.finfo(q.dtype).tiny))


def example() -> TransportPooling:
    """A cluttered 3 on 16 x 16 pixels, and eight strokes of clean digits as prototypes."""
    seen = bags.canvases(0, bags=1, side=16)
    bag = bags.canvas_bags(seen)
    parts = (seen.images, bag.x, bag.informative)
    image, features, informative = (jnp.asarray(part[3, 0]) for part in parts)
    return TransportPooling(image, features, informative, jnp.asarray(bags.strokes()))


@cache
def demo() -> Record:
    """The example, 100 rounds."""
    return run(example())


def weighted(image: Float[Array, "h w"], weights: Float[Array, " n"]) -> Float[np.ndarray, "h w 3"]:
    """The image with an orange light on it: the weight of the patches around each pixel."""
    h, w = image.shape
    on = np.zeros((h, w))
    shares = np.asarray(weights, float).reshape(h - 2, w - 2)
    for row, column in np.ndindex(3, 3):
        on[row : row + h - 2, column : column + w - 2] += shares
    strength = (on / on.max())[..., None]
    ink = np.clip(1.0 - np.asarray(image, float), 0.0, 1.0)[..., None]
    orange = np.array([0.90, 0.45, 0.0])
    return (1.0 - 0.75 * strength) * ink + 0.75 * strength * (0.35 + 0.65 * ink) * orange


def _picture(record: Record) -> Panel:
    image, weights = record.last("image"), record.last("weights")
    plain = np.repeat(np.clip(1.0 - image, 0.0, 1.0)[..., None], 3, axis=-1)
    gap = np.ones((len(image), 1, 3))
    pixels = np.concatenate([plain, gap, weighted(image, weights)], axis=1)
    return Panel(f"{record.last('on_wanted'):.0%} of the weight on the digit", [Image(pixels)])


views: list[View] = [
    _picture,
    lines(
        "mass",
        "newton_mass",
        "mu",
        title="Mass that goes",
        x="round",
        y="share of all mass",
        labels={"mass": "released rounds", "newton_mass": "Newton", "mu": "mu"},
        roles={"mass": "iterates", "newton_mass": "predicted", "mu": "target"},
    ),
    lines(
        "error",
        "newton_error",
        title="Error of the weights",
        x="round",
        y="relative error",
        log=True,
        labels={"error": "released rounds", "newton_error": "Newton"},
        roles={"error": "iterates", "newton_error": "predicted"},
    ),
    lines(
        "unrolled_error",
        "closed_error",
        "newton_gradient_error",
        title="Error of the derivative",
        x="round",
        y="relative error",
        log=True,
        labels={
            "unrolled_error": "unrolled",
            "closed_error": "closed form, there",
            "newton_gradient_error": "closed form, Newton",
        },
        roles={
            "unrolled_error": "gradient",
            "closed_error": "iterates",
            "newton_gradient_error": "predicted",
        },
    ),
]


def say(record: Record) -> str:
    """How far the rounds have come, in a sentence."""
    mass, mu, kept = (record.last(name) for name in ("mass", "mu", "kept"))
    return (
        f"Round {record.steps[-1]}: {mass:.4f} of the mass goes, {mu:.4g} should; near the "
        f"solution a round keeps {kept:.1%} of the error, at least {mu:.0%}."
    )


def claim(record: Record) -> Claim:
    """S041: weights of sum 1, and two ways to their derivative, a slow and a fast one.

    Six numbers: how far sum w is from 1; by how much weights exceed one of their bounds,
    w <= 1 / (n mu) and |w - 1 / n| <= (1 - 1 / n) (1 - mu) / mu; by how much the share of the
    error that a round keeps, sum s^2 / sum s, is below mu; how far the share seen is from it;
    the error of the unrolled derivative in the end; and that of the closed form after eight of
    Newton's rounds.
    """
    w, mu, error = record.last("weights"), record.last("mu"), record["error"]
    n, kept = len(w), record.last("kept")
    above = max(w.max() * n * mu - 1, np.abs(w - 1 / n).max() * mu / (1 - 1 / n) - (1 - mu))
    late = (error[:-1] < 1e-2) & (error[:-1] > 1e-4)  # linear, and above rounding
    ratio = np.median((error[1:] / error[:-1])[late]) / kept if late.any() else np.nan
    after = record["newton_gradient_error"][record.steps >= 8]
    unrolled, newton = record.last("unrolled_error"), after[0] if len(after) else np.nan
    seen = [abs(w.sum() - 1), max(above, 0), max(mu - kept, 0), abs(ratio - 1), unrolled, newton]
    # Rounding of float32 in sums of 200 terms; 2 % for what is left of the second order.
    most = [1e-5, 1e-5, 0.0, 0.02, 1e-4, 1e-5]
    sentence = "Off sum 1, above a bound, rate below mu, rate off; derivatives: unrolled, closed"
    return Claim(seen, most, 0.0, sentence, kind="exact", relation="<=")
