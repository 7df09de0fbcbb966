"""Refusals in one voice: the argument, the value it had, and what is accepted."""

import difflib
from collections.abc import Iterable

import numpy as np
from jax.core import Tracer


def refusal(argument: str, value: object, accepted: str) -> ValueError:
    """The error to raise when `argument` has a `value` that is not accepted."""
    return ValueError(f"{argument} = {value!r} is refused; accepted: {accepted}.")


def check_positive(argument: str, value: object, about: str = "") -> None:
    """Refuse a number, or array of numbers, not above 0; inside compiled code it is unknown."""
    if not isinstance(value, Tracer) and not np.all(np.asarray(value) > 0):
        raise refusal(argument, value, ", ".join(filter(None, ["a number above 0", about])))


def unknown(kind: str, name: str, known: Iterable[str]) -> KeyError:
    """The error to raise for a `name` that is none of the `known` ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UnknownName(f"there is no {kind} {name!r}; there are: {', '.join(known)}.{hint}")


class UnknownName(KeyError):
    """A KeyError that prints its sentence without quotes around it."""

    def __str__(self) -> str:
        return str(self.args[0])
