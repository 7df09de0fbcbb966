"""A walk from a point along one eigenvector of its Hessian: which examples notice?

    w(s)  =  w + s u_i,        L(w(s))  =  L(w) + s u_i' grad L + 1/2 lambda_i s^2 + O(s^3)

Choose the eigenvalue and the distance s at once, by dragging one point in the spectrum.  Along
an eigenvector of the bulk hardly any example changes; along one that stands out, those of a
class or of a pair of classes do.  All eigenvectors are found beforehand, so a move costs two
losses a row.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from labkit import curvature, gauss_newton
from labkit.krylov import safe_eigh
from labkit.landscapes.cluster_network import ClusterNetwork
from labkit.method import Latest, knob, pytree
from labkit.record import Record
from labkit.sweep import Sweep, sweep
from labkit.views import Bars, Curve, Mark, Panel, Points


ROWS = 25  # places on a walk


@pytree
class EigenvectorMove:
    """The walk to `place`: the eigenvalue nearest to its first number, as far as its second."""

    problem: ClusterNetwork
    w: PyTree
    values: Float[Array, " p"]  # of the Hessian at w, descending
    vectors: Float[Array, "p p"]  # columns
    place: Float[Array, "2"] = knob((5.0, 1.0), -5.0, 5.0, about="(eigenvalue, distance)")

    def __call__(self, share: Float[Array, ""]) -> dict[str, Any]:
        """What is seen at a share of the way."""
        i = jnp.argmin(jnp.abs(self.values - self.place[0]))
        value, u, s = self.values[i], self.vectors[:, i], share * self.place[1]
        flat, unravel = ravel_pytree(self.w)
        here, there = (self.problem.example_losses(v) for v in (self.w, unravel(flat + s * u)))
        slope = u @ ravel_pytree(jax.grad(self.problem.loss)(self.w))[0]
        return {
            "distance": s,
            "loss": jnp.mean(there),
            "quadratic": jnp.mean(here) + s * slope + 0.5 * value * s**2,
            "changes": there - here,
            "eigenvalue": value,
            "index": i + 1,
            "values": Latest(self.values),
            "classes": Latest(self.problem.y),
        }


def moves(problem: ClusterNetwork, w: PyTree) -> Sweep:
    """Walks from `w`, in steps of equal length; at first along the largest eigenvalue's vector."""
    values, vectors = _eigenpairs(problem, w)
    walk = EigenvectorMove(problem, w, values[::-1], vectors[:, ::-1])
    return sweep(walk, jnp.linspace(0.0, 1.0, ROWS), "share")


@jax.jit
def _eigenpairs(
    problem: ClusterNetwork, w: PyTree
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Of the dense Hessian, ascending."""
    return safe_eigh(gauss_newton.dense(curvature.hessian(problem.loss, w), w))


def spectrum(record: Record) -> Panel:
    """All eigenvalues, and the point to drag: across to another one, up to go farther."""
    values = record.last("values")
    here = Points(values, np.zeros_like(values), "eigenvalues", "data")
    at = record["eigenvalue"][-1:], record["distance"][-1:]
    marks: list[Mark] = [here, Points(*at, "drag me", "iterates", edits="place")]
    title = f"Along eigenvector {record.last('index')}"
    return Panel(title, marks, "eigenvalue", "distance", y_range=(-5.3, 5.3))


def loss(record: Record) -> Panel:
    """The loss on the way, and what slope and curvature promise."""
    marks = [Curve(record["distance"], record["loss"], "loss", "loss")]
    marks += [Curve(record["distance"], record["quadratic"], "slope and curvature", "predicted")]
    return Panel("Loss on the way", marks, "distance", "loss")


def examples(record: Record) -> Panel:
    """The change of each example's loss at the end of the walk, class by class."""
    changes, classes = record.last("changes"), record.last("classes")
    index = np.arange(1, len(changes) + 1)
    marks = [
        Bars(index[classes == c], changes[classes == c], f"class {c + 1}", f"iterates {c + 1}")
        for c in np.unique(classes)
    ]
    return Panel("Which examples change", marks, "example", "change of its loss")


views = [spectrum, loss, examples]


def say(record: Record) -> str:
    """How far, along what, and who noticed."""
    changes, classes = record.last("changes"), record.last("classes")
    share = [np.abs(changes[classes == c]).sum() for c in np.unique(classes)]
    where = f"{record.last('distance'):.3g} along eigenvector {record.last('index')}, "
    where += f"lambda {record.last('eigenvalue'):.3g}: the loss goes from {record['loss'][0]:.3g} "
    total = max(sum(share), 1e-12)
    parts = ", ".join(f"{s / total:.0%}" for s in share)
    return f"{where}to {record.last('loss'):.3g}; the classes' parts of the change are {parts}."
