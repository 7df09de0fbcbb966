"""Does a structure travel?  One graph, two domains that differ in the noise of their roots.

`transport` learns a structure in each and says how far the two are apart, and from the truth:
by NOTEARS on all rows, by learners on their own that vote, and by learners pulled together
(`transportable_structure`).  `transport_matrix` scores the structure learnt in domain i, its
weights fitted again, on the data of domain j.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from labkit.method import replace
from labkit.relaxations.graph_views import matrix
from labkit.relaxations.notears import notears
from labkit.relaxations.structural_equations import (
    Kind,
    StructuralEquations,
    covariance,
    fitted,
    is_edge,
    random_equations,
    score,
    structural_distance,
)
from labkit.relaxations.transportable_structure import TransportableStructure, agreed
from labkit.run import run
from labkit.views import Panel


Graph = Bool[np.ndarray, "d d"]


class Transported(NamedTuple):
    """Pairs joined differently."""

    apart: int  # by the structures of the two domains
    wrong: float  # by them and the truth, on average


def shifted(equations: StructuralEquations, deviation: float) -> StructuralEquations:
    """The domain in which the noise of the roots has `deviation` times its deviation."""
    roots = ~np.asarray(equations.graph).any(axis=0)
    variances = np.where(roots, deviation**2, 1.0) * np.asarray(equations.variances)
    return dataclasses.replace(equations, variances=variances)


def domains(
    seed: int, nodes: int = 6, edges: float = 1.5, kind: Kind = "erdos-renyi", samples: int = 600
) -> tuple[StructuralEquations, StructuralEquations]:
    """Two domains of one random graph: roots of deviation 1 and of deviation 2."""
    equations = random_equations(seed, nodes, edges, kind, samples=samples)
    return equations, shifted(equations, 2.0)


def voted(A: Float[np.ndarray, "K d d"]) -> Graph:
    """Edges that more than half of the learners have, by themselves."""
    return is_edge(np.asarray(A)).mean(axis=0) > 0.5


def transport(seed: int, lams: Sequence[float] = (3.0, 100.0), **options: Any) -> dict[str, Any]:
    """How far the structures of two `domains` are apart, way by way."""
    found: dict[str, list[Graph]] = {}
    pair = domains(seed, **options)
    for key, domain in enumerate(pair):
        C = np.asarray(covariance(jax.random.key(key), domain), float)
        learner = TransportableStructure(domain, rows="along the first direction")
        found.setdefault("NOTEARS", []).append(is_edge(notears(C, learner.l1)))
        runs = [run(replace(learner, {"lam": lam}), key=key, every=2000) for lam in (0.0, *lams)]
        found.setdefault("voting", []).append(voted(runs[0].last("A")))
        for lam, record in zip(lams, runs[1:], strict=True):
            found.setdefault(f"lam {lam:g}", []).append(agreed(record.last("A")) != 0)
    truth = np.asarray(pair[0].graph)
    wrong = lambda graphs: np.mean([structural_distance(graph, truth) for graph in graphs])
    return {
        name: Transported(int(structural_distance(*graphs)), float(wrong(graphs)))
        for name, graphs in found.items()
    }


def transport_matrix(
    moments: Sequence[np.ndarray], graphs: Sequence[Graph]
) -> Float[np.ndarray, "m m"]:
    """The score in domain j (column) of the structure learnt in domain i (row)."""
    scored = lambda C, graph: float(score(np.asarray(C, float), fitted(C, graph)))
    return np.array([[scored(C, graph) for C in moments] for graph in graphs])


def transport_panel(scores: Float[np.ndarray, "m m"]) -> Panel:
    """A transport matrix as a picture."""
    panel = matrix(scores, "Transport matrix")
    (raster,) = panel.marks
    labelled = raster._replace(label="score")
    return panel._replace(marks=[labelled], x="scored in domain", y="learnt in domain")
