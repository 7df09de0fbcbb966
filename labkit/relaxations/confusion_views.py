"""Pictures of a model trained on its confusion matrix, beside models trained on other losses."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from labkit.record import Record
from labkit.views import Bars, Curve, Panel, Points, View


def pictures(losses: Sequence[str]) -> list[View]:
    """The views of a record with one model for each of the `losses`, that of the metric first."""

    def roc(record: Record) -> Panel:
        wrong, right = roc_curve(record.last("p_test"), record.last("y_test")).T
        places = zip(losses, record.last("rates"), strict=True)
        points = [Points(place[:1], place[1:], name, name) for name, place in places]
        title, x = "Held out: decisions at 1/2", "negatives called positive"
        marks = [Curve(wrong, right, "at any threshold", "data"), *points]
        return Panel(title, marks, x, "positives called positive", x_range=(-0.05, 1.05))

    def metric(record: Record) -> Panel:
        held = record["held_out"]
        marks = [
            Curve(record.steps, held[:, 0], f"{losses[0]}, held out", losses[0]),
            Curve(record.steps, held[:, 1], f"{losses[1]}, held out", losses[1]),
            Curve(record.steps, record["metric_hard"], "hard, training", "data"),
            Curve(record.steps, record["metric_soft"], "soft, training", "threshold"),
        ]
        return Panel("The metric over training", marks, "step", "metric")

    return [_histogram, _matrix, roc, metric, _vanished]


def roc_curve(
    p: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "thresholds 2"]:
    """Shares of the negatives and of the positives above a threshold that falls from 1 to 0."""
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)  # ties are called positive together
    counts = np.stack([np.cumsum(y[order] < 0.5), np.cumsum(y[order] > 0.5)], axis=1)
    rates = counts[last] / np.maximum(counts[-1:], 1)
    return np.concatenate([np.zeros((1, 2)), rates])


def _histogram(record: Record) -> Panel:
    p, y, tau = record.last("p"), record.last("y") > 0.5, record.last("tau")
    edges, along = np.linspace(0.0, 1.0, 11), np.linspace(0.0, 1.0, 201)
    shares = [np.histogram(p[of], edges)[0] / max(of.sum(), 1) for of in (~y, y)]
    step = 0.5 * (1.0 + np.tanh(0.5 * (along - 0.5) / tau))  # a sigmoid that cannot overflow
    places = (edges[:-1] + edges[1:]) / 2
    marks = [
        Bars(places, shares[0], "negatives", "negatives"),
        Bars(places, shares[1], "positives", "positives"),
        Curve(along, step, "soft step A(p)", "threshold"),
    ]
    title = f"Probabilities and the soft step, tau {tau:.2g}"
    return Panel(
        title, marks, "p, trained on the metric", "share of the class", y_range=(0.0, 1.05)
    )


def _matrix(record: Record) -> Panel:
    names = np.array(["TN", "FP", "FN", "TP"])
    soft, hard = (np.ravel(_shares(record.last(name))) for name in ("conf", "conf_hard"))
    marks = [Bars(names, soft, "soft", "soft"), Bars(names, hard, "hard", "data")]
    title = "Confusion matrix, training"
    return Panel(
        title, marks, "called rightly and wrongly", "share of the class", y_range=(0.0, 1.05)
    )


def _shares(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-12)


def _vanished(record: Record) -> Panel:
    share = record["vanished"]
    title = f"{share[-1]:.0%} of the gradients have vanished"
    mark = Curve(record.steps, share, "below a thousandth of the largest possible", "gradient")
    warned = "Warning: " + title if share[-1] > 0.9 else title
    return Panel(warned, [mark], "step", "share of the samples", y_range=(-0.05, 1.05))
