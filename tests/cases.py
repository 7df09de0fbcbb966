"""One small, fast case of each method: the list that the contract tests walk."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import rewriter

from labkit import Adam, Descent, Momentum, RmsProp, Sgd, chain, descent, sweep
from labkit.dynamics import (
    adaptive_edge,
    beside_descent,
    central_flow,
    edge_model,
    edge_of_stability,
    gradient_flow,
    phase_diagram,
)
from labkit.landscapes import lanczos_spectrum, surface_descent
from labkit.problems import EdgeToy, Quadratic, sine_network
from labkit.relaxations import soft_sort
from labkit.rules import ClipNorm
from labkit.views import View


class Case(NamedTuple):
    """A method, small enough to compile and run in a second or two."""

    method: Any
    views: Sequence[View]
    part: str = ""


SINE = sine_network(samples=8, width=4, depth=1)
QUADRATIC = Quadratic(jnp.array([4.0, 3.0, 2.0, 1.0, 0.5, 0.1]))

ALL = {
    "descent": Case(Descent(QUADRATIC, chain(ClipNorm(5.0), Momentum(0.1))), descent.views),
    "host": Case(rewriter.Addition(), rewriter.views),
    "edge_of_stability": Case(
        edge_of_stability.EdgeOfStability(SINE, Sgd(0.1)), edge_of_stability.views, "dynamics"
    ),
    "gradient_flow": Case(
        gradient_flow.GradientFlow(SINE, Sgd(0.1)), gradient_flow.views, "dynamics"
    ),
    "central_flow": Case(
        central_flow.CentralFlow(SINE, Sgd(0.2), directions=2, substeps=2),
        central_flow.views,
        "dynamics",
    ),
    "beside_descent": Case(
        beside_descent.BesideDescent(SINE, RmsProp(0.01), directions=2, substeps=2, warm=1),
        beside_descent.views,
        "dynamics",
    ),
    "edge_model": Case(edge_model.EdgeModel(SINE, Sgd(0.1)), edge_model.views, "dynamics"),
    "adaptive_edge": Case(
        adaptive_edge.AdaptiveEdge(SINE, Adam(0.01, beta2=0.95)), adaptive_edge.views, "dynamics"
    ),
    "phase_diagram": Case(
        phase_diagram.PhaseDiagram(SINE, 0.1, 0.4, count=3, seeds=2, length=40),
        phase_diagram.views,
        "dynamics",
    ),
    "surface_descent": Case(surface_descent.SurfaceDescent(), surface_descent.views, "landscapes"),
    "surface_descent_toy": Case(
        surface_descent.SurfaceDescent(EdgeToy(), Sgd(0.2)), surface_descent.views, "landscapes"
    ),
    "lanczos_spectrum": Case(
        lanczos_spectrum.LanczosSpectrum(QUADRATIC, order=6), lanczos_spectrum.views, "landscapes"
    ),
    "soft_sort": Case(
        sweep(soft_sort.SoftSort(), jnp.logspace(-2.0, 1.0, 9), "tau"),
        soft_sort.views,
        "relaxations",
    ),
}

PART = os.environ.get("LABKIT_PART", "")
CASES = {name: case for name, case in ALL.items() if PART in ("", case.part) or not case.part}
