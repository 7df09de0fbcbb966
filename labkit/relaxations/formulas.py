"""A formula in TP, FP, TN and FN, typed as a text and computed with gradients.

    "TP / (TP + FP + FN)"          "sqrt(TP / (TP + FN) * TN / (TN + FP))"

Numbers, + - * /, whole powers, sqrt, log and the names of the counts: nothing else is read,
and nothing of the text is ever executed.  Where a formula has no value it gets one whose
gradient is zero, as metrics of empty classes do:

    a / b = 0  where |b| < 1e-12,     sqrt(a) = 0  where a < 0,     log(a) = log(1e-12)  below 1e-12
"""

import ast
import math
from collections.abc import Callable, Mapping
from functools import cache, partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from labkit.errors import refusal


NONE = 1e-12  # a count below it is no sample at all; its square is still a number in float32
LONGEST = 200  # characters of a formula
POWERS = range(-9, 10)


def ratio(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """a / b, and 0 with gradient 0 where b is none."""
    none = jnp.abs(b) < NONE
    return jnp.where(none, 0.0, a / jnp.where(none, 1.0, b))


def root(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """sqrt(a), and 0 with gradient 0 where a is none; its slope at 0 would be infinite."""
    none = a < NONE**2
    return jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, a)))


def logarithm(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(a), and log(1e-12) with gradient 0 below."""
    none = a < NONE
    return jnp.where(none, math.log(NONE), jnp.log(jnp.where(none, 1.0, a)))


def power(a: Float[Array, "..."], exponent: int) -> Float[Array, "..."]:
    """a to a whole power, as a ratio where that is negative."""
    whole = a ** abs(exponent)
    return whole if exponent >= 0 else ratio(jnp.ones_like(whole), whole)


FUNCTIONS = {"sqrt": root, "log": logarithm}
OPERATIONS = {ast.Add: jnp.add, ast.Sub: jnp.subtract, ast.Mult: jnp.multiply, ast.Div: ratio}
SIGNS = {ast.UAdd: jnp.positive, ast.USub: jnp.negative}

Values = Mapping[str, Float[Array, "..."]]


def evaluate(formula: str, values: Values) -> Float[Array, "..."]:
    """The value of `formula` where its names have these `values`, all floats of one shape.

    Raises ValueError, in a sentence, for what is no formula in these names.
    """
    return parsed(formula, tuple(values))(values)


@cache
def parsed(formula: str, names: tuple[str, ...]) -> Callable[[Values], Array]:
    """The function of the values of `names` that `formula` writes down.

    Raises ValueError, in a sentence, for what is no formula in these names.
    """
    if not isinstance(formula, str) or len(formula) > LONGEST:
        raise refusal("formula", formula, f"a text of at most {LONGEST} characters")
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError):  # the latter where it holds a null character
        raise _refused(formula, formula, names) from None
    return _built(tree, formula, names)


def _built(node: ast.expr, formula: str, names: tuple[str, ...]) -> Callable[[Values], Array]:
    """What one node of the tree computes, made of what its parts compute."""
    built = partial(_built, formula=formula, names=names)
    match node:
        case ast.Name(id=name) if name in names:
            return lambda values: values[name]
        case ast.Constant(value=int() | float() as value) if _plain(value):
            # Of the dtype and shape of the counts, so that it promotes neither.
            return lambda values: jnp.full_like(values[names[0]], value)
        case ast.UnaryOp(op=op, operand=a) if type(op) in SIGNS:
            sign, inner = SIGNS[type(op)], built(a)
            return lambda values: sign(inner(values))
        case ast.BinOp(left=a, op=ast.Pow(), right=b) if (exponent := _whole(b)) is not None:
            base = built(a)
            return lambda values: power(base(values), exponent)
        case ast.BinOp(left=a, op=op, right=b) if type(op) in OPERATIONS:
            operation, left, right = OPERATIONS[type(op)], built(a), built(b)
            return lambda values: operation(left(values), right(values))
        case ast.Call(func=ast.Name(id=name), args=[a], keywords=[]) if name in FUNCTIONS:
            function, argument = FUNCTIONS[name], built(a)
            return lambda values: function(argument(values))
    raise _refused(formula, ast.get_source_segment(formula.strip(), node) or formula, names)


def _plain(value: float) -> bool:
    """Whether it is a number that float32 holds: True is an int to Python, 1e999 infinite."""
    return not isinstance(value, bool) and abs(value) < 1e38


def _whole(node: ast.expr) -> int | None:
    """The exponent written there, or None where it is no whole number from -9 to 9."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if type(value) is int and value in POWERS else None


def _refused(formula: str, part: str, names: tuple[str, ...]) -> ValueError:
    where = "" if part == formula else f" (at {part!r})"
    accepted = (
        f"{', '.join(names)}, numbers, + - * /, whole powers ** from -9 to 9, sqrt( ), log( )"
    )
    return refusal("formula", formula, accepted + where)
