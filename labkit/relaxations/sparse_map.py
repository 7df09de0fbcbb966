"""Choosing a structure with gradients: SparseMAP.

    mu = argmax  <s, mu> - tau / 2 |mu|^2   over mu in conv(Y)

Y holds structures as vectors: the subsets of k items, the label sequences that a grammar
allows, the rows of a matrix.  mu is the point of their convex hull nearest to s / tau, a
mixture of a few structures; with Y the unit vectors it is `sparsemax`.  All that has to be
known of Y is an oracle, the structure of largest score (`labkit.polytopes`).  mu moves on the
face of the hull that holds it:

    tau dmu / ds = the projection onto the directions of that face

What to look for: at small tau a single structure and no gradient; as tau grows, more of
them, few against all there are.  A rule that every structure obeys is never broken.

Source: F020, SparseMAP: Differentiable Sparse Structured Inference.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.method import Scalar, knob, pytree
from labkit.polytopes import Mixture, Oracle, chains, nearest
from labkit.record import Record
from labkit.run import run
from labkit.shares import prepared, relative
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, Points, Raster, View, lines


def sparse_map(scores: Float[Array, "... d"], tau: Scalar, oracle: Oracle) -> Float[Array, "... d"]:
    """mu, the nearest point to scores / tau of the hull that `oracle` describes.

    `tau` > 0 is in units of the scores.
    """
    return mixture(scores, tau, oracle).marginals


def mixture(scores: Float[Array, "... d"], tau: Scalar, oracle: Oracle) -> Mixture:
    """mu together with the structures that it mixes."""
    scores, tau = prepared(scores, tau)
    most = float(jnp.finfo(scores.dtype).max) ** 0.5  # whose products are still finite
    z = relative(scores, tau, jnp.zeros_like(scores[..., :1]))
    largest = jax.lax.stop_gradient(jnp.abs(z).max(axis=-1, keepdims=True, initial=most))
    return nearest(z * (most / largest), oracle)  # far out, only the direction counts


PLACES, LABELS = 4, 3
STEPWISE = np.abs(np.subtract.outer(np.arange(LABELS), np.arange(LABELS))) <= 1


@pytree
class Sequence:
    """A sequence of four labels from 1 to 3, in which neighbours differ by at most 1."""

    scores: Float[Array, " d"] = knob(
        (2.2, 0.5, 0.0, 0.3, 0.8, 2.2, 0.0, 1.0, 1.8, 1.6, 0.9, 0.2), -1.0, 4.0
    )

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        found = mixture(self.scores, tau, chains(STEPWISE))
        count = jnp.sum(found.weights > 1e-5)
        return {"scores": self.scores, "structures_mixed": count, **found._asdict()}


def example() -> Sweep:
    """The sequence, walked from tau 0.02 to tau 20."""
    return sweep(Sequence(), over=jnp.logspace(np.log10(0.02), np.log10(20.0), 46), name="tau")


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


def spelled(structure: np.ndarray) -> str:
    """The labels of a sequence: "1232"."""
    return "".join(str(1 + label) for label in structure.reshape(-1, LABELS).argmax(axis=1))


def weights_by_name(record: Record) -> dict[str, np.ndarray]:
    """The weight of each sequence over the rows, those of the largest weights first."""
    weights: dict[str, np.ndarray] = {}
    for row, pairs in enumerate(zip(record["weights"], record["structures"], strict=True)):
        for weight, structure in zip(*pairs, strict=True):
            if weight > 1e-5:
                weights.setdefault(spelled(structure), np.zeros(len(record)))[row] = weight
    return dict(sorted(weights.items(), key=lambda item: -item[1].max()))


def _scores(record: Record) -> Panel:
    scores = record.last("scores")
    at = 1 + np.arange(len(scores)) // LABELS + 0.25 * (np.arange(len(scores)) % LABELS - 1)
    points = Points(at, scores, "labels 1, 2, 3 of each place", "iterates", "function.scores")
    return Panel("Drag the scores", [points], "place", "score", y_range=(-1.5, 4.5))


def _marginals(record: Record) -> Panel:
    row = int(np.argmin(np.abs(np.log(record["tau"] / 2.0))))  # where several are mixed
    z = record["marginals"][row].reshape(-1, LABELS).T
    raster = Raster(z, np.arange(1, z.shape[1] + 1), np.arange(1, LABELS + 1), "share")
    return Panel(f"Marginals, tau {record['tau'][row]:.2g}", [raster], "place", "label")


def _mixed(record: Record) -> Panel:
    named = list(weights_by_name(record).items())[:6]
    marks = [Curve(record["tau"], weight, name, f"structure {name}") for name, weight in named]
    return Panel("Sequences mixed (six of them)", marks, "softness tau", "weight", log_x=True)


views: list[View] = [
    _scores,
    _marginals,
    _mixed,
    lines("structures_mixed", over="tau", log_x=True, title="How many", x="softness tau"),
]


def say(record: Record) -> str:
    """How many structures are mixed, in a sentence."""
    count, tau = record["structures_mixed"], record["tau"]
    best = next(iter(weights_by_name(record)))
    alone = tau[count == 1]
    until = f"alone up to tau {alone.max():.3g}" if len(alone) else "never alone"
    return f"{best} is {until}; at tau {tau[-1]:.3g}, {count[-1]} sequences are mixed."


def claim(record: Record) -> Claim:
    """F020: a mixture of structures that obey the rule, and none of the hull is nearer.

    Three numbers, over all tau: the largest <z - mu, y - mu> of any allowed sequence y, in
    units of the scores, which is 0 where mu is nearest; the distance of mu to its
    mixture; and the weight of what is no allowed sequence, or is below 0 or missing from 1.
    """
    s, tau, mu = record.last("scores").astype(float), record["tau"][:, None], record["marginals"]
    jumps = lambda path: np.abs(np.diff(path)).max(initial=0)
    paths = np.stack(np.meshgrid(*[np.arange(LABELS)] * (len(s) // LABELS)), -1)
    paths = [path for path in paths.reshape(-1, len(s) // LABELS) if jumps(path) <= 1]
    allowed = np.eye(LABELS)[np.array(paths)].reshape(len(paths), -1)
    g = s - tau * mu
    gain = (g @ allowed.T - np.sum(g * mu, axis=1, keepdims=True)).max()
    weights, structures = record["weights"], record["structures"]
    apart = np.abs(np.einsum("ri,rid->rd", weights, structures) - mu).max()
    known = (structures[:, :, None] == allowed[None, None]).all(-1).any(-1)
    wrong = np.abs(np.where(known, 0.0, weights)).sum(axis=1) + np.maximum(-weights, 0).sum(axis=1)
    wrong = np.maximum(wrong, np.abs(weights.sum(axis=1) - 1)).max()
    sentence = "Gain of any other sequence, distance to the mixture, weight of what is not allowed"
    # Float32, at tau times as many products as there are scores.
    return Claim([gain, apart, wrong], 0.0, 1e-3, sentence, kind="exact")
