"""Marks as plain arrays: what either renderer needs and neither provides."""

import numpy as np

from labkit.errors import refusal
from labkit.views import Band, Bars, Curve, Panel, Points, Raster, Surface


def array(values: object) -> np.ndarray:
    """Numbers, whatever they came as."""
    return np.asarray(values, float)


def placed(values: object, log: bool) -> np.ndarray:
    """The values that have a place on an axis: on a logarithmic one, those above zero."""
    return np.where(array(values) > 0, array(values), np.nan) if log else array(values)


def outline(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A band as closed polygons, one for each stretch without gaps, NaN between them."""
    x, low, high = np.broadcast_arrays(array(x), array(low), array(high))
    whole = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    cuts = np.flatnonzero(np.diff(whole.astype(int))) + 1
    xs, ys = [], []
    for part in np.split(np.arange(len(x)), cuts):
        if len(part) and whole[part[0]]:
            xs += [x[part], x[part[::-1]], x[part[:1]], [np.nan]]
            ys += [low[part], high[part[::-1]], low[part[:1]], [np.nan]]
    return np.concatenate([*xs, []]), np.concatenate([*ys, []])


def broken(*ends: np.ndarray) -> np.ndarray:
    """Separate segments in one line: the coordinates of their ends, NaN after each."""
    return np.stack([*ends, np.full(len(ends[0]), np.nan)], axis=1).ravel()


def segments(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a broken line is nothing but pairs of ends, NaN after each."""
    gaps = ~np.isfinite(array(x) + array(y))
    return len(gaps) > 0 and len(gaps) % 3 == 0 and (gaps.reshape(-1, 3) == [0, 0, 1]).all()


def links(places: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The edges of a graph as one broken line: one coordinate of it."""
    edges = np.asarray(edges, int).reshape(-1, 2)
    return broken(array(places)[edges[:, 0]], array(places)[edges[:, 1]])


def arrowheads(
    x: np.ndarray, y: np.ndarray, edges: np.ndarray, at: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    """The same with a stop on the way, where the head of an arrow belongs; both coordinates."""
    edges = np.asarray(edges, int).reshape(-1, 2)
    ends = [(array(places)[edges[:, 0]], array(places)[edges[:, 1]]) for places in (x, y)]
    across, up = (broken(a, a + at * (b - a), b) for a, b in ends)
    return across, up


def low_nodes(y: np.ndarray) -> np.ndarray:
    """Which nodes of a graph [n] are in its lower half: their names stand below, outside it."""
    known = array(y)[np.isfinite(array(y))]
    return array(y) < ((known.min() + known.max()) / 2 if known.size else np.nan)


def painted(mark: Raster) -> tuple[float, float] | None:
    """What the first and the last colour of a raster stand for; None: the range of its values."""
    return (0.0, 1.0) if mark.edits else mark.limits


def weights(given: np.ndarray) -> np.ndarray:
    """Areas of dots as shares of the largest, none too small to be seen."""
    return np.clip(np.nan_to_num(array(given)), 0.02, 1.0)


def limits(wanted: tuple[float, float] | None) -> tuple[float, float] | None:
    """The range of an axis, or None where it is not known, as in a first picture without data."""
    known = wanted is not None and bool(np.isfinite(np.asarray(wanted, float)).all())
    return wanted if known else None


def counted(panel: Panel, axis: str) -> bool:
    """Whether only whole numbers stand along an axis, "x" or "y": steps, indices, counts."""
    heights = axis == "y" and any(isinstance(mark, Bars | Band) for mark in panel.marks)
    numbers = along(panel, axis)
    return numbers is not None and bool((numbers % 1 == 0).all()) and not heights


def along(panel: Panel, axis: str) -> np.ndarray | None:
    """The finite places of marks along an axis, "x" or "y"; None where none is a number."""
    found = [np.asarray(getattr(mark, axis)) for mark in panel.marks if hasattr(mark, axis)]
    numbers = [values.ravel() for values in found if values.dtype.kind in "biuf"]
    if not numbers:
        return None
    values = np.concatenate(numbers).astype(float)
    return values[np.isfinite(values)]


def positive(panel: Panel, axis: str) -> np.ndarray:
    """The numbers along an axis, "x" or "y", that have a place on a logarithmic one."""
    wanted = limits(getattr(panel, f"{axis}_range"))
    names = ("x",) if axis == "x" else ("y", "low", "high", "height")
    found = [getattr(mark, name) for mark in panel.marks for name in names if hasattr(mark, name)]
    numbers = [wanted] if wanted else [v for v in found if np.asarray(v).dtype.kind in "biuf"]
    values = np.concatenate([[], *(array(each).ravel() for each in numbers)])
    return values[np.isfinite(values) & (values > 0)]


def span(z: np.ndarray) -> tuple[float, float]:
    """The range of the finite values, never empty: a constant field has colours too."""
    finite = array(z)[np.isfinite(array(z))]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    pad = 0.5 * max(abs(low), 1e-30) if high - low <= 1e-12 * max(abs(low), abs(high)) else 0.0
    return (low - pad, high + pad) if low or high else (-0.5, 0.5)


def cell_edges(centres: np.ndarray, log: bool = False) -> np.ndarray:
    """The borders of cells [n + 1] from their centres [n]; on a log axis, in between in ratio."""
    centres = array(centres)
    if log and (centres > 0).all():
        return np.exp(cell_edges(np.log(centres)))
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def drape(panel: Panel, mark: Curve | Points) -> np.ndarray:
    """How high a curve or points lie on the surface of their panel."""
    surface = next((m for m in panel.marks if isinstance(m, Surface)), None)
    if surface is None:
        raise refusal("marks", type(mark).__name__, "beside a Mesh no flat marks")
    low, high = span(surface.z)
    above = 0.015 * (high - low)  # or the surface would hide half of a line that lies in it
    return height(surface, array(mark.x), array(mark.y)) + above


def height(surface: Surface, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A surface between its grid points, bilinear; NaN beyond them."""
    z, gx, gy = array(surface.z), array(surface.x), array(surface.y)
    if min(z.shape) < 2:
        return np.full(len(x), np.nan)
    inside = (x >= gx.min()) & (x <= gx.max()) & (y >= gy.min()) & (y <= gy.max())
    j, s = _place(gx, x)
    i, t = _place(gy, y)
    low = (1 - s) * z[i, j] + s * z[i, j + 1]
    high = (1 - s) * z[i + 1, j] + s * z[i + 1, j + 1]
    return np.where(inside, (1 - t) * low + t * high, np.nan)


def _place(grid: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cell of an even or uneven rising grid that holds each place, and how far into it."""
    cell = np.clip(np.searchsorted(grid, at, side="right") - 1, 0, len(grid) - 2)
    return cell, (at - grid[cell]) / (grid[cell + 1] - grid[cell])
