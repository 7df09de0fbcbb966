"""A host method for the tests: addition of unary numbers by two rewriting rules.

add(0, y) -> y            add(S(x), y) -> S(add(x, y))
"""

from typing import NamedTuple

from labkit import knob, method
from labkit.views import lines, text


Term = tuple  # ("0",), ("S", x) or ("add", x, y)


def number(n: int) -> Term:
    """n as 0 with n successors."""
    return ("0",) if n == 0 else ("S", number(n - 1))


def rewrite(term: Term) -> Term | None:
    """The term after one rule was used at its outermost place; None in normal form."""
    match term:
        case ("add", ("0",), y):
            return y
        case ("add", ("S", x), y):
            return ("S", ("add", x, y))
        case (name, *parts):
            for index, part in enumerate(parts):
                new = rewrite(part)
                if new is not None:
                    return (name, *parts[:index], new, *parts[index + 1 :])
    return None


def depths(term: Term, depth: int = 0) -> list[int]:
    """The depth of every symbol, in reading order."""
    return [depth] + [d for part in term[1:] for d in depths(part, depth + 1)]


def write(term: Term) -> str:
    """The term as one reads it."""
    name, *parts = term
    return f"{name}({', '.join(map(write, parts))})" if parts else name


class State(NamedTuple):
    term: Term


@method(host=True)
class Addition:
    """left + right, rewritten to normal form."""

    left: float = knob(3.0, 0.0, 9.0)
    right: float = knob(2.0, 0.0, 9.0)

    def init(self, key):
        del key
        return State(("add", number(int(self.left)), number(int(self.right))))

    def step(self, state, key):
        del key
        return State(rewrite(state.term) or state.term)

    def observe(self, state):
        where = depths(state.term)
        return {"term": write(state.term), "size": len(where), "depths": where}

    def done(self, state):
        """The term is in normal form."""
        return rewrite(state.term) is None


views = [text("term", title="Term"), lines("size", title="Symbols", y="symbols")]
