"""What searches of architectures show: the rank of the find, the proxy, the critic."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.record import Record
from labkit.views import Band, Curve, Mark, Panel, Points, Raster, View


def ranks_view(name: str) -> View:
    """The rank of the best found so far: of one run, or medians over lanes, beside controls."""

    def view(record: Record) -> Panel:
        along = record["queries"]
        if "ranks" not in record:
            marks = [Curve(along, record["best_rank"], name, name)]
            return Panel("Best found so far", marks, "queries", "rank", log_y=True)
        own = record["ranks"]
        marks: list[Mark] = [Band(along, own.min(axis=1), own.max(axis=1), f"{name}, all", name)]
        for column in (column for column in record if column.endswith("ranks")):
            label = column.rpartition(".")[0] or name
            marks.append(Curve(along, np.median(record[column], axis=1), label, label))
        title = f"Best found so far, median of {own.shape[1]}"
        return Panel(title, marks, "queries", "rank", log_y=True)

    return view


BETWEEN = 4  # points from one operation to the next


def around(best: Float[Array, "edges operations"]) -> tuple[Array, np.ndarray]:
    """Codes on the ways from operation to operation, one edge at a time: [edges, points, ...].

    Beside them, which points are operations.
    """
    edges, operations = best.shape
    points = np.linspace(0.0, operations - 1, BETWEEN * (operations - 1) + 1)
    rows = np.clip(1.0 - np.abs(points[:, None] - np.arange(operations)), 0.0, None)
    own = np.eye(edges)[:, None, :, None]
    walk = own * rows[None, :, None, :] + (1.0 - own) * best[None, None]
    return jnp.asarray(walk), np.arange(operations) * BETWEEN


def walk_view(record: Record) -> Panel:
    """What the proxies say where one edge of the find is changed, and what is true."""
    mean, spread, there = (record.last(name) for name in ("walk", "spread", "there"))
    edges, points = mean.shape
    # One edge beside the other, with a gap between them.
    at = np.linspace(0.0, 0.8, points) + np.arange(edges)[:, None]
    joined = lambda a: np.append(a, np.full((edges, 1), np.nan), axis=1).ravel()
    x, band = joined(at), 2.0 * spread
    marks = [
        Band(x, joined(mean - band), joined(mean + band), "two deviations of the proxies", "proxy"),
        Curve(x, joined(mean), "proxies, mean", "proxy"),
        Points(at[:, ::BETWEEN].ravel(), there.ravel(), "quality", "target"),
    ]
    return Panel("One edge of the find changed", marks, "edge, and on it the operation", "quality")


def fit_view(record: Record) -> Panel:
    """What the proxies say of what was measured."""
    measured, said = record.last("proxy_fit").T
    known = measured[np.isfinite(measured)]  # none in a record in which nothing is known yet
    ends = np.array([known.min(), known.max()]) if len(known) else np.full(2, np.nan)
    marks = [Points(measured, said, "queries", "iterates"), Curve(ends, ends, "equal", "target")]
    return Panel("The proxies where measured", marks, "measured quality", "said by the proxies")


BLOCK = 10  # queries a column of the histogram


def rewards_view(record: Record) -> Panel:
    """Where rewards were, ten queries at a time, and where the critic puts its quantile."""
    rewards, levels = record.last("rewards"), record.last("levels")
    asked, marks = int(record.last("rewards.count")), []
    blocks = [slice(i, min(i + BLOCK, asked)) for i in range(0, asked, BLOCK)]
    along = np.array([(b.start + 1 + b.stop) / 2 for b in blocks])
    if asked:  # in a record of which nothing is known yet there are no rewards
        bounds = np.linspace(rewards[:asked].min(), rewards[:asked].max() + 1e-6, 25)
        shares = [np.histogram(rewards[b], bounds)[0] / (b.stop - b.start) for b in blocks]
        marks.append(
            Raster(np.stack(shares, axis=1), along, (bounds[1:] + bounds[:-1]) / 2, "share")
        )
    quantile = np.array([levels[b].mean() for b in blocks])
    marks.append(Curve(along, quantile, "critic's quantile, mean", "predicted"))
    return Panel("Rewards, ten queries at a time", marks, "query", "quality")


def found(record: Record) -> str:
    """The find and its rank, in a sentence."""
    queries, rank = int(record.last("queries")), int(record.last("best_rank"))
    told = f"After {queries} queries the best find has rank {rank}"
    told += f", {record.last('regret'):.3g} below the best there is"
    if "ranks" not in record:
        return told + "."
    median = lambda name: f"{np.median(record.last(name)):.0f}"
    lanes = f"median rank on {len(record.last('ranks'))} landscapes {median('ranks')}"
    return f"{told}; {lanes}, of random search {median('random.ranks')}."


def claimed(record: Record) -> Claim:
    """Among the best 20, and better than random search, in the median over landscapes.

    Two numbers: the rank over 20, and over the rank of random search.
    """
    rank, random = (np.median(record.last(name)) for name in ("ranks", "random.ranks"))
    sentence = "Median rank of the find / 20; / that of random search"
    return Claim([rank / 20, rank / random], 1.0, 0.0, sentence, relation="<=")
