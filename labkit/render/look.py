"""The one look: the same thing has the same colour, dash and marker in every picture.

Lines have the hues of Okabe and Ito by role, fields are cividis; both survive colour blindness
and a projector.  Colour is never the only cue: lines differ in dash and marker too.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from labkit.errors import refusal


class Theme(NamedTuple):
    """Colours of the page."""

    background: str
    ink: str
    grid: str
    ghost: str
    over_field: str  # thin lines that must show on any colour of a field
    field_part: tuple[float, float]  # of cividis, where lines stand out from the background
    colors: Mapping[str, str]  # of lines, by the names that roles use


class Style(NamedTuple):
    """How the marks of one role look; dash and marker have plotly's names."""

    color: str
    dash: str
    marker: str


# The eight of Okabe and Ito less black, which is the ink, and yellow; each as much darker, or
# brighter, as it takes to stand out from the page at 3 to 1 and stay apart from the others.
ON_LIGHT = {
    "vermilion": "#C44500",
    "blue": "#005A9E",
    "green": "#00875F",
    "orange": "#BE8A00",
    "purple": "#C25BA0",
    "sky": "#3A9BDD",
}
ON_DARK = {
    "vermilion": "#F07028",
    "blue": "#4488EE",
    "green": "#14B082",
    "orange": "#F5BE3C",
    "purple": "#E893C8",
    "sky": "#86CEFA",
}
THEMES = {
    "light": Theme("#ffffff", "#1a1a1a", "#dddddd", "#8c8c8c", "#ffffff", (0.0, 0.6), ON_LIGHT),
    "dark": Theme("#14171a", "#ececec", "#3a3f45", "#85898e", "#ffffff", (0.4, 1.0), ON_DARK),
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "cross", "star")
PATTERNS = ("", "/", "x", "\\", ".")  # of bars, where a panel has several kinds

# In order: "central flow loss" is drawn as the central flow, not as a loss.
ROLES = {
    "ghost": ("ghost", "solid", "circle"),
    "previous": ("ghost", "solid", "circle"),
    "threshold": ("ink", "dash", "cross"),
    "without": ("green", "dash", "diamond"),
    "walls": ("orange", "dash", "square"),
    "edge model": ("sky", "longdash", "triangle-up"),
    "edge": ("ink", "dash", "cross"),
    "target": ("ink", "dash", "cross"),
    "midpoint": ("purple", "dot", "diamond"),
    "descent": ("blue", "solid", "circle"),
    "gradient flow": ("green", "dashdot", "triangle-down"),
    "central flow": ("orange", "dash", "square"),
    "central": ("orange", "dash", "square"),
    "flow": ("green", "dashdot", "triangle-down"),
    "predicted": ("orange", "dash", "square"),
    "prediction": ("orange", "dash", "square"),
    "minimum": ("ink", "dot", "star"),
    "optimum": ("ink", "dot", "star"),
    "sharpness": ("vermilion", "solid", "circle"),
    "eigenvalue": ("vermilion", "solid", "circle"),
    "eigenvalues": ("vermilion", "solid", "circle"),
    "test loss": ("purple", "dash", "diamond"),
    "loss": ("blue", "solid", "circle"),
    "accuracy": ("green", "solid", "square"),
    "gradient": ("sky", "solid", "triangle-up"),
    "preconditioned": ("blue", "longdash", "triangle-down"),
    "coordinate": ("orange", "dot", "diamond"),
    "sign": ("vermilion", "dashdot", "square"),
    "p norm": ("purple", "dash", "cross"),
    "multiplicative": ("green", "solid", "x"),
    "iterates": ("vermilion", "solid", "circle"),
    "path": ("vermilion", "solid", "circle"),
    "start": ("green", "dot", "square"),
    "data": ("ghost", "dot", "circle"),
    "plan": ("blue", "solid", "circle"),
    "softmax": ("blue", "solid", "circle"),
    "sparsemax": ("vermilion", "dash", "square"),
    "entmax": ("green", "dashdot", "diamond"),
    "gumbel": ("orange", "dot", "triangle-up"),
    "straight-through": ("purple", "longdash", "x"),
    "score function": ("sky", "solid", "cross"),
    "perturbed": ("orange", "longdash", "star"),
    "sorted": ("blue", "solid", "circle"),
    "capped": ("vermilion", "dash", "square"),
    "logistic": ("vermilion", "dash", "square"),
    "softsort": ("blue", "solid", "circle"),
    "neuralsort": ("sky", "dot", "diamond"),
    "sinkhorn": ("purple", "dashdot", "triangle-up"),
    "isotonic": ("green", "solid", "x"),
    "reciprocal": ("orange", "dot", "triangle-down"),
    "cauchy": ("green", "longdash", "cross"),
    "optimal": ("orange", "dash", "star"),
    "error-free": ("purple", "solid", "square"),
    "right arc": ("green", "solid", "circle"),
    "turned arc": ("vermilion", "dash", "square"),
    "missing arc": ("ink", "dot", "star"),
    "spare arc": ("orange", "dashdot", "diamond"),
    "positive": ("blue", "solid", "circle"),
    "negative": ("vermilion", "dash", "square"),
    "slice": ("orange", "dash", "cross"),
    "random": ("ghost", "dot", "circle"),
    "evolution": ("green", "dashdot", "triangle-up"),
    "gaussian process": ("purple", "longdash", "diamond"),
    "proxy search": ("blue", "solid", "circle"),
    "actor search": ("orange", "dash", "square"),
}

# Cividis at nine even places, so that both renderers draw the same field.
CIVIDIS = (
    "#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78",
    "#9b9476", "#bcae6c", "#dec958", "#fee838",
)  # fmt: skip

FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"
TEXT_SIZE, TITLE_SIZE, TICK_SIZE = 14, 16, 12  # pixels


def theme_of(name: str) -> Theme:
    """The theme of that name."""
    if name not in THEMES:
        raise refusal("theme", name, " or ".join(map(repr, THEMES)))
    return THEMES[name]


def role_of(mark: Any, index: int) -> str:
    """What decides the looks of a mark: its role, else its label, else its place."""
    return getattr(mark, "role", "") or getattr(mark, "label", "") or f"mark {index}"


def styles(roles: Iterable[str], theme: Theme) -> dict[str, Style]:
    """The style of each role of one panel: fixed where the role is known, else the next free."""
    roles, chosen = list(dict.fromkeys(roles)), {}
    for role in sorted(roles, key=_rank):  # those that match best choose first
        style = _known(role, theme)
        chosen[role] = _free(style, list(chosen.values()), theme)
    return {role: chosen[role] for role in roles}


def cividis(part: tuple[float, float] = (0.0, 1.0)) -> list[str]:
    """Colours of a field, dark to bright; `part` leaves out an end."""
    places = np.linspace(part[0], part[1], len(CIVIDIS)) * (len(CIVIDIS) - 1)
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in CIVIDIS])
    mixed = [np.interp(places, np.arange(len(CIVIDIS)), channel) for channel in rgb.T]
    return ["#{:02x}{:02x}{:02x}".format(*row) for row in np.rint(mixed).T.astype(int)]


def wrap(text: str, width: float, size: float) -> list[str]:
    """The lines of a text broken to a width in pixels; its own line breaks are kept."""
    most = max(8, int(width / (0.6 * size)))
    broken = (
        textwrap.wrap(line, most, break_on_hyphens=False) or [""]
        for line in text.expandtabs(4).splitlines()
    )
    return [line for lines in broken for line in lines]


def fit(text: str, width: float, height: float) -> tuple[list[str], int]:
    """A pane of text as lines and their size: smaller as it grows, in the end cut short."""
    for size in range(TEXT_SIZE, 8, -1):
        lines = wrap(text, width, size)
        most = int(height / (1.3 * size))
        if len(lines) <= most:
            return lines, size
    return [*lines[: max(most - 1, 0)], f"({len(lines) - most + 1} lines more)"], size


def superscript(number: float) -> str:
    """A tick label: plain where short, a power of ten elsewhere."""
    if number == 0 or 1e-3 <= abs(number) < 1e5:
        return f"{number:.6g}".replace("-", "−")
    head, _, power = f"{number:.3e}".partition("e")
    head = head.rstrip("0").rstrip(".")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    ten = {"1": "", "-1": "-"}.get(head, head + "·") + "10" + raised
    return ten.replace("-", "−")


def _plain(role: str) -> tuple[str, int]:
    words = role.lower().replace("_", " ").replace(".", " ").strip()
    number = re.fullmatch(r"(.*\D)\s(\d+)", words)
    return (number[1].strip(), int(number[2])) if number else (words, 0)


def _rank(role: str) -> int:
    name, _ = _plain(role)
    return 0 if name in ROLES else 1 if _known(role, THEMES["light"]) else 2


def _known(role: str, theme: Theme) -> Style | None:
    name, number = _plain(role)
    match = name if name in ROLES else None
    for known in ROLES:
        match = match or (known if f" {known} " in f" {name} " else None)
    if match is None:
        return None
    color, dash, marker = ROLES[match]
    if number > 1:  # "eigenvalues 2" stands next to "eigenvalues 1" and differs in all three
        hues = list(theme.colors)
        color = _along(hues, color, number - 1) if color in hues else color
        dash, marker = _along(DASHES, dash, number - 1), _along(MARKERS, marker, number - 1)
    return Style(getattr(theme, color, "") or theme.colors[color], dash, marker)


def _along(cycle: Sequence[str], start: str, by: int) -> str:
    return cycle[(cycle.index(start) + by) % len(cycle)]


def _free(wanted: Style | None, taken: Sequence[Style], theme: Theme) -> Style:
    """The wanted style if nobody in the panel has it, else one that nobody has."""
    looks, place = [style[:2] for style in taken], len(taken)
    if wanted and wanted[:2] not in looks:
        return wanted
    marker, dashes = MARKERS[place % len(MARKERS)], DASHES[place % 5 :] + DASHES[: place % 5]
    colors = list(theme.colors.values())
    if wanted and wanted.color not in colors:
        colors = [wanted.color]  # what is grey, or ink, stays so
    used = [style.color for style in taken]
    fresh = [(color, dashes[0]) for color in colors if color not in used]
    pairs = fresh + [(color, dash) for dash in dashes for color in colors]
    return Style(*next((pair for pair in pairs if pair not in looks), pairs[0]), marker)
