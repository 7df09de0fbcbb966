"""One method at many settings, as one program: step sizes, seeds, starts side by side.

Leaves and seeds are lanes of a batch, spread over the devices that JAX finds; sizes and
choices, which change the program, take turns.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from labkit.errors import refusal
from labkit.loop import Probe, Span, loop, strong, whole
from labkit.method import Method, replace
from labkit.record import Record
from labkit.run import Run


@dataclasses.dataclass(frozen=True)
class Fan:
    """`records[i]` is the record of the run at `settings[i]`."""

    settings: list[dict[str, Any]]
    records: list[Record]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, lane: int) -> Record:
        return self.records[lane]

    def column(self, name: str) -> np.ndarray:
        """One column of all lanes [lanes, rows, ...]; NaN after the row where a lane stopped."""
        columns = [np.asarray(record[name], float) for record in self.records]
        rows = max(map(len, columns))
        whole = np.full((len(columns), rows, *columns[0].shape[1:]), np.nan)
        for lane, column in zip(whole, columns, strict=True):
            lane[: len(column)] = column
        return whole


def fan(
    method: Method,
    steps: int | None = None,
    *,
    over: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    key: int = 0,
    every: int = 1,
    probes: Mapping[str, Probe] | None = None,
    how: Literal["vmap", "map"] | None = None,
) -> Fan:
    """Run `method` at every setting; lane i sees what `run` sees there, to rounding.

    `over` is {field: values}, whose product is run, or a list of settings.  The name "key"
    stands for the seed; {"key": n} are the seeds 0 to n - 1.  `how` is to batch the steps
    (vmap) or to run the lanes of a device in turn (map), which is quicker where a method
    skips work by `cond`: under vmap both branches run.  The default is the method's own
    `batch`, else vmap.

    Raises ValueError for a setting that is refused, KeyError for an unknown field.
    """
    if getattr(method, "host", False):
        raise refusal("method", type(method).__name__, "a method whose steps are compiled")
    how = how or getattr(method, "batch", "vmap")
    if how not in ("vmap", "map"):
        raise refusal("how", how, "vmap or map")
    settings = list(_settings(over))
    if not settings:
        raise refusal("over", over, "one setting or more")
    runs = [_run(method, steps, {"key": key, **s}, every, probes) for s in settings]
    alike: dict[Any, list[Run]] = {}
    for one in runs:
        leaves, structure = jax.tree.flatten(one.method)
        shapes = tuple(map(np.shape, leaves))
        alike.setdefault((structure, shapes, one.end), []).append(one)
    for (structure, *_), lanes in alike.items():
        _together(structure, lanes, how)
    return Fan(settings, [one.record for one in runs])


def _settings(over: Mapping | Sequence) -> Sequence[dict[str, Any]]:
    if not isinstance(over, Mapping):
        return [dict(setting) for setting in over]
    seeds = lambda v: range(v) if isinstance(v, int | np.integer) else v
    values = {name: seeds(v) if name == "key" else v for name, v in over.items()}
    for name, several in values.items():
        if not isinstance(several, Iterable):
            raise refusal(f"over[{name!r}]", several, "several values")
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _run(method, steps, setting, every, probes) -> Run:
    key = int(setting["key"])
    changes = {name: value for name, value in setting.items() if name != "key"}
    return Run(replace(method, changes), steps, key=key, every=every, probes=probes)


def _together(structure: Any, runs: list[Run], how: str) -> None:
    """Run methods of one structure, shapes and end, as one program."""
    devices = jax.devices()[: len(runs)]
    # A fan of any number of lanes fills the devices: the last lane is run again, unseen.
    spare = -len(runs) % len(devices)
    lanes = runs + runs[-1:] * spare
    columns = list(zip(*(jax.tree.leaves(one.method) for one in lanes), strict=True))
    # Only leaves that differ get a lane each; data, which are shared, are not copied.
    apart = tuple(any(leaf is not column[0] for leaf in column) for column in columns)
    each = [jnp.stack(column) for column, is_apart in zip(columns, apart, strict=True) if is_apart]
    shared = [column[0] for column, is_apart in zip(columns, apart, strict=True) if not is_apart]
    keys = jnp.stack([jnp.stack([one.init_key, one.key]) for one in lanes])
    first = runs[0]
    rows = 2 + (first.end - first.step) // first.every
    most = 2 ** math.ceil(math.log2(rows))  # so that a longer run is often the same program
    program = _program(structure, first.probes, apart, most, how, tuple(devices))
    span = whole(Span(0, rows, first.every, 0, first.end))
    out = program(each, shared, keys, span)
    state, seen = out.state, jax.device_get(out._replace(state=None))
    for lane, one in enumerate(runs):
        at = lambda a, lane=lane: a[lane]
        one.keep(jax.tree.map(at, seen), jax.tree.map(at, state))


@functools.lru_cache(maxsize=16)
def _program(structure, probes, apart, most, how, devices):
    def one_lane(each, keys, shared, span):
        each, shared = iter(each), iter(shared)
        leaves = [next(each) if is_apart else next(shared) for is_apart in apart]
        method = jax.tree.unflatten(structure, leaves)
        state = strong(method.init(keys[0]))
        return loop(method, state, keys[1], span, probes, most)

    def lanes(each, shared, keys, span):
        if how == "map":
            one = lambda lane: one_lane(lane[0], lane[1], shared, span)
            return jax.lax.map(one, (each, keys))
        return jax.vmap(one_lane, (0, 0, None, None))(each, keys, shared, span)

    if len(devices) > 1:
        lane, whole = PartitionSpec("lane"), PartitionSpec()
        specs = {"in_specs": (lane, whole, lane, whole), "out_specs": lane}
        mesh = Mesh(np.array(devices), ("lane",))
        lanes = jax.shard_map(lanes, mesh=mesh, **specs, check_vma=False)
    return jax.jit(lanes)
