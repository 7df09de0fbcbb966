"""A claim: what a record shows, beside what it should show."""

from typing import Any, Literal, NamedTuple

import numpy as np


class Claim(NamedTuple):
    """`seen` should stand in `relation` to `expected`, to within `tolerance` (absolute).

    `kind` says how much is promised: *exact* (a closed form, an identity, a limit),
    *measured* (holds over the stated seeds and settings), *reported* (shown, never asserted).
    """

    seen: Any  # a number or an array
    expected: Any  # broadcast against `seen`
    tolerance: float
    sentence: str
    kind: Literal["exact", "measured", "reported"] = "measured"
    relation: Literal["=", "<=", ">="] = "="

    @property
    def holds(self) -> bool:
        """Whether every entry is as expected.  NaN never is, nor an empty array."""
        off = np.asarray(self.seen, float) - np.asarray(self.expected, float)
        miss = {"=": np.abs(off), "<=": off, ">=": -off}[self.relation]
        return miss.size > 0 and bool((miss <= self.tolerance).all())

    def check(self) -> None:
        """Print the number and the verdict.  Raises AssertionError when the claim fails."""
        print(self)
        if self.kind != "reported" and not self.holds:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        seen, expected, verdict = self.cells()
        return f"{self.sentence}\n  seen {seen}, {expected}: {verdict} ({self.kind})"

    def cells(self) -> tuple[str, str, str]:
        """What was seen, what was expected, and the verdict, in words."""
        verdict = "reported" if self.kind == "reported" else "holds" if self.holds else "FAILS"
        sign = {"=": "expected", "<=": "at most", ">=": "at least"}[self.relation]
        within = f" to within {self.tolerance:.2g}" if self.tolerance else ""
        return _short(self.seen), f"{sign} {_short(self.expected)}{within}", verdict


def _short(value: Any) -> str:
    return np.array2string(np.asarray(value, float), precision=4, threshold=6)
