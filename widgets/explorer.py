"""Watch any method run, and turn its knobs while it does.

    Explorer(descent, edge_of_stability.views)

Controls come from the fields of the method, the figure from the views.  Nothing starts by
itself: on display the first rows are drawn (or the whole of a sweep); Play, or the first
touch of a knob, starts the run.  A live knob changes the run that is going on; any other
begins a new one.
"""

import html
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np

from labkit.method import Method, check, fields
from labkit.record import Record
from labkit.render.plotly import Spec, spec
from labkit.render.text import describe
from labkit.run import blank
from labkit.views import Panel, Points, View
from widgets.controls import Controls
from widgets.live_view import LiveView, hear_at_once
from widgets.player import Player


class Explorer(ipywidgets.VBox):
    """A method with its controls and its live figure.

    `say(record)` is the sentence under the figure (the views described, when not given);
    `steps` how far a run goes (until it is stopped), `every` how many steps lie between two
    rows, `limit` after how many rows the record thins itself, `pace` how many rows a second
    are seen at most (None: as many as there can be).

    Raises ValueError when the method is refused.
    """

    def __init__(
        self,
        method: Method,
        views: Sequence[View],
        *,
        say: Callable[[Record], str] | None = None,
        steps: int | None = None,
        every: int = 1,
        seed: int = 0,
        limit: int = 1000,
        pace: float | None = 60.0,
    ):
        check(method)
        _close_former(self)
        self._views, self._say = list(views), say
        self._drawing = threading.RLock()
        self._panels, self._words = self._first_panels(method), "nothing has run yet"
        self.view = LiveView(self._spec(LiveView.page_theme, None), self._words)
        options = {"steps": steps, "every": every, "seed": seed, "limit": limit}
        options["pace"] = pace
        self.player = Player(method, self._show, self.view.ready, **options)
        self._controls = Controls(fields(method), self.turn)
        self._play = _button("Play", "play", "go on, or start again", self._toggle)
        self._step = _button("Step", "step-forward", "see one row more", self.player.step)
        self._reset = _button("Reset", "undo", "back to the start", self.reset)
        self._seed = ipywidgets.IntText(seed, description="seed", layout={"width": "9em"})
        self._seed.style = {"description_width": "3em"}
        self._seed.observe(lambda change: self.reset(change["new"]), "value")
        self._status = ipywidgets.HTML("ready")
        self._status.add_class("labkit-status")
        for button in (self._play, self._step, self._reset):
            button.add_class("labkit-" + button.description.lower())
        row = ipywidgets.HBox([self._play, self._step, self._reset, self._seed, self._status])
        knobs = ipywidgets.Box(list(self._controls.widgets.values()))
        for box in (row, knobs):
            box.layout = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__([row, knobs, self.view])
        self.add_class("labkit-explorer")
        hear_at_once(self._play, self._step, self._reset, self._seed, *self._controls.boxes())
        self.view.on_edit(self._edited)
        self.view.observe(lambda _: self._redraw(), ["theme", "width"])
        self.player.begin()

    @property
    def method(self) -> Method:
        """The method as its controls stand."""
        return self.player.method

    @property
    def record(self) -> Record:
        """What the present run has seen."""
        return self.player.record

    @property
    def status(self) -> str:
        """What stands beside the buttons."""
        return self.player.status

    def play(self) -> None:
        """Start, or go on."""
        self.player.play()
        self._mark(self.player.status)

    def stop(self) -> None:
        """Stop now; what was recorded stays."""
        self.player.stop()

    def step(self) -> None:
        """See one row more."""
        self.player.step()

    def reset(self, seed: int | None = None) -> None:
        """Back to the start, with another seed when one is given."""
        self.player.reset(seed)

    def turn(self, changes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set fields, as their controls do.  What is refused is said in the widget."""
        try:
            self.player.turn({**(changes or {}), **more})
        except (ValueError, KeyError) as error:
            self._controls.show(fields(self.method))
            self._mark(str(error), bad=True)
            return
        self._controls.show(fields(self.method))
        self._mark(self.player.status)

    def close(self) -> None:
        """End the run and take the widget off the page."""
        self.player.close()
        self.view.close()
        super().close()

    def _toggle(self) -> None:
        if self.player.playing and self._play.description == "Stop":
            self.stop()
        else:
            self.play()

    def _show(self, record: Record | None, status: str) -> None:
        """Draw a record and say how things stand; called from the run's thread."""
        self._mark(status)
        if record is None:
            return
        with self._drawing:
            self._panels = [view(record) for view in self._views]
            self._words = self._say(record) if self._say else describe(self._panels)
            self._redraw()

    def _redraw(self) -> None:
        """The panels, in the theme and the width of the page."""
        with self._drawing:
            self.view.push(self._spec(self.view.theme, self.view.width or None), self._words)

    def _mark(self, status: str, bad: bool = False) -> None:
        going = self.player.playing and not bad
        name, icon = ("Stop", "stop") if going else ("Play", "play")
        if self._play.description != name:
            self._play.description, self._play.icon = name, icon
        color = " style='color: var(--jp-error-color1, #b3261e)'" if bad else ""
        said = f"<span{color}>{html.escape(status)}</span>"
        if self._status.value != said:
            self._status.value = said

    def _spec(self, theme: str, width: float | None) -> Spec:
        return spec(self._panels, theme, width)

    def _first_panels(self, method: Method) -> list[Panel]:
        """Axes without anything on them, before there is a first row."""
        try:
            with np.errstate(all="ignore"):
                record = blank(method)
                return [view(record) for view in self._views]
        except (ValueError, IndexError, TypeError, ArithmeticError):
            return [Panel(type(method).__name__, [])]

    def _edited(self, field: str, index: int, x: float, y: float, final: bool) -> None:
        """A person dragged point `index` of the array `field` to (x, y)."""
        del final
        known = fields(self.method)[field]
        value = np.array(known.value, float)
        with self._drawing:
            marks = [m for p in self._panels for m in p.marks if isinstance(m, Points)]
        alone = any(len(m.x) == 1 for m in marks if m.edits == field)
        if value.shape == (2,) and alone:
            value[:] = x, y
        elif value.ndim == 1:
            value[index] = y
        else:
            value[index] = x, y
        self.turn({field: np.clip(value, known.low, known.high)})


def _button(name: str, icon: str, about: str, press: Callable[[], None]) -> ipywidgets.Button:
    button = ipywidgets.Button(description=name, icon=icon, tooltip=about, layout={"width": "6em"})
    button.on_click(lambda _: press())
    return button


_by_cell: dict[str, tuple[str, list[Explorer]]] = {}


def _close_former(explorer: Explorer) -> None:
    """Close the widgets that an earlier execution of the same cell made."""
    cell, execution = _cell()
    if cell is None:
        return
    earlier, explorers = _by_cell.get(cell, ("", []))
    if earlier != execution:
        for old in explorers:
            old.close()
        explorers = []
    _by_cell[cell] = (execution, [*explorers, explorer])


def _cell() -> tuple[str | None, str]:
    """The notebook cell that is running, and which execution of it this is."""
    try:
        from IPython import get_ipython

        parent = get_ipython().get_parent()
        return parent["metadata"].get("cellId"), parent["header"]["msg_id"]
    except (ImportError, AttributeError, KeyError):
        return None, ""
