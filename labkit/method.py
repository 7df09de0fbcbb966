"""The one contract: a method starts, steps, and says what can be seen.

A method is a frozen dataclass that JAX sees as a pytree.  Its numbers are leaves,
so turning a knob changes a value and never recompiles; sizes and choices are
compiled in.

    @method
    class Walk:
        length: float = knob(1.0, 0.1, 3.0)

        def init(self, key):            # the state at step 0: a NamedTuple of arrays
            return jnp.zeros(())

        def step(self, state, key):     # one step: pure
            return state + self.length * jr.normal(key)

        def observe(self, state):       # what can be seen, by name: the hook
            return {"place": state}

A method may also have `done(state)` (a step after which to stop; its docstring is
the sentence that says so), `check()` (raises on bad combinations of fields) and
`steps` (how long a run is when nobody says).
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from labkit.errors import refusal, unknown


State = Any  # a pytree of arrays, usually a NamedTuple
Scalar = float | Array  # a knob: a float where it is set, an array [] inside compiled code


class Method(Protocol):
    """What the runner, the widgets and the tests know of any method."""

    def init(self, key: Key[Array, ""]) -> State: ...

    def step(self, state: State, key: Key[Array, ""]) -> State: ...

    def observe(self, state: State) -> Mapping[str, Any]: ...


class Padded(NamedTuple):
    """A seen array of fixed size of which only the first `count` entries mean anything."""

    values: Any  # [most, ...]
    count: Any  # how many of the leading entries count


class Latest(NamedTuple):
    """A seen array, large as a rule, of which a record keeps only the newest row."""

    values: Any


class Field(NamedTuple):
    """What a control needs to know of one field.  `name` is dotted: "problem.noise"."""

    name: str
    kind: Literal["knob", "size", "choice"]
    value: Any
    low: float = -math.inf  # of the slider
    high: float = math.inf
    log: bool = False
    live: bool = False  # may be turned in mid-run without starting again
    within: tuple[float, float] = (-math.inf, math.inf)  # what is accepted at all
    options: tuple[str, ...] = ()
    about: str = ""
    rank: int | None = None  # of a knob: 0 for a number, None where any will do

    @property
    def label(self) -> str:
        """The last part of the dotted name: what is written beside a control."""
        return self.name.rpartition(".")[2]


def knob(
    default: float | Sequence,
    low: float,
    high: float,
    *,
    log: bool = False,
    live: bool = False,
    within: tuple[float, float] | None = None,
    about: str = "",
    per_entry: bool = False,
) -> Any:
    """A number, or an array of numbers, that a slider turns between `low` and `high`.

    Which of the two, the default says; a number that is `per_entry` may also be an array.

    `within` bounds what is accepted at all (a slider shows only a part of it): every
    finite number, or for a `log` knob every positive one.  A `live` knob may change in
    mid-run; turning any other starts the run again.
    """
    if within is None:
        within = (math.ulp(0.0), math.inf) if log else (-math.inf, math.inf)
    meta = {"kind": "knob", "low": low, "high": high, "log": log, "live": live}
    meta |= {"within": within, "about": about, "rank": None if per_entry else np.ndim(default)}
    if np.ndim(default):
        return dataclasses.field(default_factory=lambda: np.array(default, float), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def size(default: int, low: int, high: int, *, about: str = "") -> Any:
    """A whole number that is compiled in: a width, a number of rounds.  Shown as a stepper.

    `low` is the least that is accepted; `high` only ends the stepper.
    """
    meta = {"kind": "size", "low": low, "high": high, "about": about, "static": True}
    return dataclasses.field(default=default, metadata=meta)


def choice(default: str, *others: str, about: str = "") -> Any:
    """One of several variants, compiled in.  Shown as a dropdown."""
    meta = {"kind": "choice", "options": (default, *others), "about": about, "static": True}
    return dataclasses.field(default=default, metadata=meta)


def static(**options) -> Any:
    """A field that is compiled in and has no control: a function, a shape."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True)
def pytree(cls: type) -> type:
    """Make `cls` a frozen dataclass that JAX sees as a pytree: a problem, a rule, a function."""
    cls.is_part = True
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, eq=False)(cls))


@dataclass_transform(frozen_default=True)
def method(cls: type | None = None, /, *, host: bool = False) -> Any:
    """Make `cls` a method.  With `host=True` its steps run in Python, outside compiled code.

    Raises TypeError when init, step or observe is missing.
    """
    if cls is None:
        return lambda cls: method(cls, host=host)
    missing = [name for name in ("init", "step", "observe") if not hasattr(cls, name)]
    if missing:
        raise TypeError(f"{cls.__name__} is no method yet: it lacks {', '.join(missing)}.")
    cls.host = host
    return pytree(cls)


def fields(method: Any) -> dict[str, Field]:
    """The knobs, sizes and choices of a method and of its parts, by dotted name."""
    return {field.name: field for field in _fields(method, "")}


def _fields(part: Any, prefix: str) -> Iterator[Field]:
    for name, value, meta in _parts(part):
        if "kind" in meta:
            yield Field(prefix + name, value=value, **_known(meta))
        elif not meta.get("static"):  # what is compiled in has nothing to turn
            yield from _fields(value, f"{prefix}{name}.")


def is_part(value: Any) -> bool:
    """Whether `value` was made by `pytree`: a stranger's dataclass has nothing to turn."""
    return getattr(type(value), "is_part", False)


def _parts(part: Any) -> Iterator[tuple[str, Any, Mapping]]:
    """(name, value, metadata) of each field of a part or entry of a tuple."""
    if is_part(part):
        for field in dataclasses.fields(part):
            yield field.name, getattr(part, field.name), field.metadata
    elif type(part) in (tuple, list):
        for index, value in enumerate(part):
            yield str(index), value, {}


def _known(meta: Mapping) -> dict:
    return {key: value for key, value in meta.items() if key in Field._fields}


def replace(method: Any, changes: Mapping[str, Any]) -> Any:
    """`method` with other values for the fields named.

    The last part of a dotted name is enough where only one field has it: "lr" for "rule.lr".
    Raises KeyError for a name that is no knob, size or choice of the method.
    """
    for name, value in resolve(method, changes).items():
        method = _replaced(method, name.split("."), value)
    return method


def resolve(method: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` with each name in full.

    Raises KeyError for one that names no field, ValueError for one that names several.
    """
    known, full = fields(method), {}
    for name, value in changes.items():
        ends = [name] if name in known else [n for n in known if n.endswith("." + name)]
        if len(ends) > 1:
            raise refusal("field", name, f"a name in full: {' or '.join(ends)}")
        if not ends:
            raise unknown(f"field of {type(method).__name__}", name, known)
        full[ends[0]] = value
    return full


def _replaced(part: Any, path: Sequence[str], value: Any) -> Any:
    name, *rest = path
    if is_part(part):
        if rest:
            value = _replaced(getattr(part, name), rest, value)
        return dataclasses.replace(part, **{name: value})
    inner = list(part)
    inner[int(name)] = _replaced(part[int(name)], rest, value)
    return type(part)(inner)


def check(method: Any) -> None:
    """Refuse, in a sentence, a method that cannot run; called once, when a run begins.

    Raises ValueError: a knob that is not finite or out of its bounds, a size that is no
    whole number or too small, an unknown choice, or what a part's own `check()` says.
    """
    for field in fields(method).values():
        if field.kind == "knob":
            _check_knob(field, type(method).__name__)
        elif field.kind == "size":
            whole = isinstance(field.value, int | np.integer) and not isinstance(field.value, bool)
            if not whole or field.value < field.low:
                raise refusal(field.name, field.value, f"a whole number, {field.low} or more")
        elif field.value not in field.options:
            raise refusal(field.name, field.value, f"one of {', '.join(field.options)}")
    _check_parts(method)


def _check_knob(field: Field, owner: str) -> None:
    low, high = field.within
    try:
        values = np.asarray(field.value).astype(float, casting="same_kind")
    except (TypeError, ValueError):
        raise refusal(field.name, field.value, f"a number ({owner})") from None
    if field.rank is not None and values.ndim != field.rank:
        kind = f"an array of {field.rank} axes" if field.rank else "one number"
        raise refusal(field.name, field.value, f"{kind} ({owner})")
    if not (np.isfinite(values).all() and (values >= low).all() and (values <= high).all()):
        raise refusal(field.name, field.value, f"{_interval(low, high)} ({owner})")


def _interval(low: float, high: float) -> str:
    if low == math.ulp(0.0):
        return "a finite number above 0" + (f", at most {high:g}" if high < math.inf else "")
    bounds = [f"at least {low:g}"] * (low > -math.inf) + [f"at most {high:g}"] * (high < math.inf)
    return " ".join(["a finite number", *[" and ".join(bounds)] * bool(bounds)])


def _check_parts(part: Any) -> None:
    for _, value, meta in _parts(part):
        if "kind" not in meta:
            _check_parts(value)
    if is_part(part) and hasattr(part, "check"):
        part.check()


def cast(method: Any) -> Any:
    """`method` with each knob as the one kind of number that compiled code was made for.

    A knob may be given as int, float, NumPy or JAX scalar; each would be traced anew.
    Weak types let the data decide the precision.
    """
    to_number = float if getattr(method, "host", False) else lambda v: jnp.asarray(float(v))
    for name, field in fields(method).items():
        if field.kind == "knob":
            value = (
                np.asarray(field.value, float) if np.ndim(field.value) else to_number(field.value)
            )
            method = _replaced(method, name.split("."), value)
    return method
