"""A flow beside its optimizer: how they agree, and the pictures that show it.

Of a record with the columns of a central flow and, as "descent.", "flow.", "edge." and
"distance.", those of the optimizer, its stable flow, the edge model, and how far each is from
the midpoint of the optimizer: as `central_flow.demo` and `beside_descent` make it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from labkit.record import Record
from labkit.views import Curve, Panel, View, lines


def smooth(
    values: Float[np.ndarray, " rows"], steps: Float[np.ndarray, " rows"], width: float
) -> Float[np.ndarray, " rows"]:
    """A running mean: a Gaussian of standard deviation `width` steps, cut at the ends."""
    weights = np.exp(-0.5 * ((steps[:, None] - steps[None]) / width) ** 2)
    return weights @ values / weights.sum(axis=1)


class Agreement(NamedTuple):
    """How a central flow agrees with its optimizer, from 50 steps after the crossing on."""

    above: float  # largest sharpness / threshold - 1 of the flow
    rises: float  # share of rows where the loss at the flow rises
    distance: float  # from the optimizer's midpoint at the end, over that of the stable flow
    error: float  # of the predicted mean loss: median, relative; running means over 10 steps
    error_without: float  # of the loss at the flow in its place
    gradient: float  # of the predicted mean squared gradient: median error, relative


def agreement(record: Record) -> Agreement:
    """Of a record with the columns of `demo`; NaN unless 100 steps followed the crossing."""
    first = reached(record)
    if first is None or record.steps[-1] < record.steps[first] + 100:
        return Agreement(*[np.nan] * 6)
    late = record.steps >= record.steps[first] + 50
    mean = lambda name, power: smooth(record[name] ** power, record.steps, 10.0)[late]
    off = lambda seen, name, power=1: float(
        np.median(np.abs(mean(seen, power) / mean(f"descent.{name}", power) - 1.0))
    )
    return Agreement(
        above=float((record["sharpness"] / record["threshold"])[late].max() - 1.0),
        rises=float(np.mean(np.diff(record["loss"][late]) > 0)),
        distance=float(record["distance.central"][-1] / record["distance.flow"][-1]),
        error=off("mean_loss", "loss"),
        error_without=off("loss", "loss"),
        gradient=off("mean_gradient_norm", "gradient_norm", power=2),
    )


def reached(record: Record) -> int | None:
    """The first row where descent, beside a flow, is above its threshold; None if it never is."""
    above = np.flatnonzero(record["descent.sharpness"] > record["descent.threshold"])
    return int(above[0]) if len(above) else None


def pictures(optimizer: str = "descent", flow: str = "gradient flow") -> list[View]:
    """Loss, sharpness, oscillation and distances, with names for the optimizer and its flow.

    What a record does not have (another motion, distances) is left out.
    """
    labels = {
        "loss": "central flow",
        "mean_loss": "predicted mean",
        "sharpness": "central flow",
        "variances": "direction",
        "descent.loss": optimizer,
        "descent.sharpness": optimizer,
        "flow.sharpness": flow,
        "edge.sharpness": "edge model",
    }
    roles = {
        **labels,
        "mean_loss": "midpoint",
        "descent.loss": "descent",
        "descent.sharpness": "descent",
        "flow.sharpness": "gradient flow",
    }
    return [
        lines(
            "loss", "mean_loss", beside=["descent.loss"],
            title="Loss", y="loss", log=True, labels=labels, roles=roles,
        ),
        lines(
            "sharpness", "threshold",
            beside=["descent.sharpness", "flow.sharpness", "edge.sharpness"],
            title="Sharpness", y="largest eigenvalue", labels=labels, roles=roles,
        ),
        lines(
            "variances", title="Oscillation about the flow", y="mean loss it adds", labels=labels
        ),
        lambda record: apart(record, optimizer, flow),
    ]  # fmt: skip


def apart(record: Record, optimizer: str = "descent", flow: str = "gradient flow") -> Panel:
    """How far each motion is from the midpoint of the optimizer, where a record says so."""
    names = {"central": "central flow", "flow": flow, "edge": "edge model"}
    roles = {"flow": "gradient flow"}
    marks = [
        Curve(record.steps, record[f"distance.{name}"], label, roles.get(name, label))
        for name, label in names.items()
        if f"distance.{name}" in record
    ]
    return Panel(f"Distance from {optimizer}", marks, "step", "distance in weights")


def paths(record: Record) -> Panel:
    """The paths of `demo` from descent's crossing on, in a plane that shows them part.

    Along: from the start to the end of the central flow.  Across: the direction at right angles
    in which the paths differ most.
    """
    names = {"descent.w": "descent", "w": "central flow", "flow.w": "gradient flow"}
    names["edge.w"] = "edge model"
    late = slice(reached(record) or 0, None)
    origin, end = record["w"][late][[0, -1]]
    along = (end - origin) / np.linalg.norm(end - origin)
    off = np.concatenate([record[name][late] - record["w"][late] for name in names])
    across = np.linalg.svd(off - np.outer(off @ along, along), full_matrices=False)[2][0]
    marks = []
    for name, label in names.items():
        moved = record[name][late] - origin
        marks.append(Curve(moved @ along, moved @ across, label, label))
    return Panel("Paths after the crossing", marks, "along the flow", "across it")
