"""One method at many settings, as one program: step sizes, seeds, starts side by side.

Leaves and seeds are lanes of a batch, spread over the devices that JAX finds; sizes and
choices, which change the program, take turns.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from labkit.errors import refusal
from labkit.loop import MOST_ROWS, Probe, loop, most_rows, see, strong, whole
from labkit.method import Method, replace
from labkit.record import Record
from labkit.run import Run


FEW = 8  # lanes for which a call may record as much as a single run's


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
    init_keys, keys = (jnp.stack([getattr(o, k) for o in lanes]) for k in ("init_key", "key"))
    programs = _programs(structure, runs[0].probes, apart, len(lanes), how, tuple(devices))
    state = programs.init(each, shared, init_keys)
    while not all(one.finished for one in runs):
        spans = jax.tree.map(lambda *n: jnp.stack(n), *(whole(o.span(MOST_ROWS)) for o in lanes))
        out = programs.advance((each, state, keys, spans), shared)
        state, seen = out.state, jax.device_get(out._replace(state=None))
        for lane, one in enumerate(runs):
            at = lambda a, lane=lane: a[lane]
            if not one.finished:
                one.keep(jax.tree.map(at, seen), jax.tree.map(at, state))


class _Programs(NamedTuple):
    init: Callable
    advance: Callable


@functools.lru_cache(maxsize=16)
def _programs(structure, probes, apart, lanes, how, devices) -> _Programs:
    """All lanes at once; leaves that are `apart` have a leading axis, as all else but `shared`."""

    def method_of(each, shared):
        each, shared = iter(each), iter(shared)
        return structure.unflatten(next(each) if is_apart else next(shared) for is_apart in apart)

    def init(each, shared, keys):
        return jax.vmap(lambda each, key: strong(method_of(each, shared).init(key)))(each, keys)

    def one_lane(lane, shared):
        each, state, key, span = lane
        method = method_of(each, shared)
        shapes = jax.eval_shape(lambda s: see(method, s, probes), state)
        most = max(1, most_rows(shapes) // max(1, lanes // FEW))
        return loop(method, state, key, span, probes, most)

    def advance(all_lanes, shared):
        one = lambda lane: one_lane(lane, shared)
        return jax.lax.map(one, all_lanes) if how == "map" else jax.vmap(one)(all_lanes)

    if len(devices) > 1:
        mesh = Mesh(np.array(devices), ("lane",))
        lane, all_of_it = PartitionSpec("lane"), PartitionSpec()
        specs = {"in_specs": (lane, all_of_it), "out_specs": lane, "check_vma": False}
        advance = jax.shard_map(advance, mesh=mesh, **specs)
    return _Programs(jax.jit(init), jax.jit(advance))
