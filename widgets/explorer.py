"""Watch any method run, and turn its knobs while it does.

    Explorer(descent, edge_of_stability.views)

Controls come from the fields of the method, the figure from the views.  Nothing starts by
itself: on display the first rows are drawn (or the whole of a sweep); Play, or the first
touch of a knob, starts the run.  A live knob changes the run that is going on; any other
begins a new one.
"""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from labkit.method import Method, check, fields, resolve
from labkit.record import Record
from labkit.render.plotly import Spec, spec
from labkit.render.text import describe
from labkit.run import blank, plain_value
from labkit.views import Panel, Points, View
from widgets import cells, code, recorded
from widgets.bar import Bar
from widgets.camera import Camera, static
from widgets.controls import Controls
from widgets.errors import told
from widgets.gestures import Edit, edited
from widgets.ghost import Ghost
from widgets.live_view import LiveView, hear_at_once
from widgets.player import OPENING, Player
from widgets.scrubber import Scrubber


class Explorer(ipywidgets.VBox):
    """A method with its controls and its live figure.

    `say(record)` is the sentence under the figure (the views described, when not given);
    `steps` how far a run goes (until it is stopped), `every` how many steps lie between two
    rows, `limit` after how many rows the record thins itself, `pace` how many rows a second
    are seen at most (None: as many as there can be).  Where `pause(record)` gives a sentence
    the run waits and says it, until Step or Play.

    `source` is the expression of the method that `code` begins with: what was written as the first
    argument, unless that is said here.

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
        pause: Callable[[Record], str] | None = None,
        source: str = "",
    ):
        check(method)
        cells.close_former(self)
        self._source = source or code.first_argument(sys._getframe(1)) or "method"
        self._given = {name: plain_value(f.value) for name, f in fields(method).items()}
        self._views, self._say = list(views), say
        self._drawing, self._editing = threading.RLock(), threading.RLock()
        self._marking = threading.Lock()
        self._refusal = ""  # what was last asked for and refused
        options = {"steps": steps, "every": every, "seed": seed, "limit": limit, "pace": pace}
        options["pause"] = pause
        self.player = Player(method, self._show, lambda: self.view.ready(), **options)
        self._ghost = Ghost(self._views)
        self._ghost.button.observe(lambda _: self._redraw(), "value")
        self._panels, self._words = self._first_panels(method), "nothing has run yet"
        self.view = LiveView(self._spec(LiveView.page_theme, None), self._words)
        self._controls = Controls(fields(method), self.turn)
        self._scrubber = Scrubber(self._look_back)
        # A sweep is seen whole: its rows are no past.
        back = [] if self.player.sweeps else [self._scrubber.slider]
        hands = {"step": self.step, "reset": self.reset, "copy": self.copy}
        self._bar = Bar(seed, *back, self._ghost.button, toggle=self._toggle, **hands)
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        knobs = ipywidgets.Box(list(self._controls.widgets.values()), layout=wrap)
        super().__init__([self._bar.row, self._bar.line, knobs, self.view])
        self.add_class("labkit-explorer")
        touched = [*self._bar.touched(), *back, self._ghost.button, *self._controls.boxes()]
        hear_at_once(*touched)
        self.view.on_edit(self._edited)
        self.view.observe(lambda _: self._redraw(), ["theme", "width"])
        if not static():
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
        return " - ".join(filter(None, [self._refusal, self.player.status]))

    @property
    def code(self) -> str:
        """The line of Python that makes the present run as far as it has gone, turns included."""
        return code.line(self.record, self._source, self._given, self.player.limit)

    def copy(self) -> None:
        """Show the line of Python, and put it on the clipboard where the page may."""
        line = self.code
        self._bar.show_code(line)
        self.view.copy(line)

    def play(self) -> None:
        """Start, or go on."""
        self._forget()
        self.player.play()
        self._mark()

    def stop(self) -> None:
        """Stop now; what was recorded stays."""
        self._refusal = ""
        self.player.stop()

    def step(self) -> None:
        """See one row more."""
        self._forget()
        self.player.step()

    def reset(self, seed: int | None = None) -> None:
        """Back to the start, with another seed when one is given."""
        self._forget()
        self._ghost.leave(self.record, self.player.shown)
        self.player.reset(seed)
        self._bar.show_seed(self.player.seed)

    def turn(self, changes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set fields, as their controls do.  What is refused is said in the widget."""
        try:
            self._scrubber.release()
            before, shown = self.record, self.player.shown
            if self.player.turn({**(changes or {}), **more}):
                self._ghost.leave(before, shown)
            self._refusal = ""
            self._bar.hide_code()
        except (ValueError, KeyError) as error:
            self._refusal = str(error)
        self._controls.show(fields(self.method))
        # A sweep is over before a button could be seen to change: two messages less a move.
        if self._refusal or not self.player.sweeps:
            self._mark()

    def to_html(self, path: str | Path, over: str | None = None) -> Path:
        """Write a page with the recorded figure that needs no kernel; returns its path.

        Its slider goes back over the rows of the present run; one that has only begun is first
        run to its end, or for a few seconds.  With `over`, and of a sweep always, it goes over
        values of that field ("lr", "x[0]"; of a sweep, the first there is).
        Raises KeyError when `over` is no field, ValueError when it is a whole array.
        """
        seen = None if len(self.record) <= OPENING or self.player.sweeps else self.record
        return recorded.page(self._camera().reel(seen, over), path, self._about())

    def close(self) -> None:
        """End the run and take the widget off the page."""
        if not hasattr(self, "player"):  # refused before it was whole, and now forgotten
            return
        self.player.close()
        for part in (*self.children, self._scrubber.slider, self.layout):  # a sweep shows no slider
            _close(part)
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if static():
            return recorded.bundle(self._camera().reel(), self._about())
        return super()._repr_mimebundle_(**kwargs)

    def _camera(self) -> Camera:
        play = self.player
        return Camera(
            play.method, self._views, self._say, play.steps, play.every, play.seed, play.limit
        )

    def _about(self) -> str:
        knobs = ", ".join(field.label for field in fields(self.method).values())
        return f"A recording.  In the lab these can be turned: {knobs}." if knobs else ""

    def _toggle(self) -> None:
        if self.player.playing and self._bar.stops:
            self.stop()
        else:
            self.play()

    def _forget(self) -> None:
        """What was refused, and the row that was looked back at."""
        self._refusal = ""
        self._scrubber.release()
        self._bar.hide_code()

    def _look_back(self) -> None:
        """A person moved the scrubber: the run stops, and what it had seen by then is drawn."""
        if self.player.playing:
            self.stop()
        try:
            self._draw(self.record)
        except Exception as error:  # of a view that needs more rows
            self._refusal = told(error)
            self._mark()

    def _show(self, record: Record | None, status: str) -> None:
        """Draw a record and say how things stand; called from the run's thread."""
        del status  # the player says it too
        self._mark()
        if record is not None:
            self._draw(record)
            if not self.player.playing:
                self._scrubber.follow(record)

    def _draw(self, record: Record) -> None:
        record = self._scrubber.seen(record)
        with self._drawing:
            self._panels = [view(record) for view in self._views]
            self._words = self._say(record) if self._say else describe(self._panels)
            self._redraw()

    def _redraw(self) -> None:
        """The panels, in the theme and the width of the page."""
        with self._drawing:
            self.view.push(self._spec(self.view.theme, self.view.width or None), self._words)

    def _mark(self) -> None:
        """Say how things stand; what was refused stays until something is accepted."""
        with self._marking:  # or what a thread saw first might be said last
            self.view.say_progress(self.player.progress)
            self._bar.mark(self.player.playing, self.player.status, self._refusal)

    def _spec(self, theme: str, width: float | None) -> Spec:
        return spec(self._ghost.behind(self._panels), theme, width)

    def _first_panels(self, method: Method) -> list[Panel]:
        """Axes without anything on them, before there is a first row."""
        try:
            with np.errstate(all="ignore"):
                record = blank(method)
                return [view(record) for view in self._views]
        except Exception:  # a view that needs rows; or an error, which the run will say
            return [Panel(type(method).__name__, [])]

    def _edited(self, edit: Edit) -> None:
        """A hand changed the array behind a mark."""
        [name] = resolve(self.method, {edit.field: None})
        with self._drawing:
            marks = [m for p in self._panels for m in p.marks if isinstance(m, Points)]
        alone = any(len(m.x) == 1 for m in marks if m.edits == edit.field)
        with self._editing:  # two pages may paint at once, each its own cells
            known = fields(self.method)[name]
            self.turn({name: edited(known.value, edit, known.low, known.high, alone=alone)})


def _close(part: ipywidgets.Widget) -> None:
    """Close a widget with all it is made of, which ipywidgets would keep as long as the kernel."""
    inside = [*getattr(part, "children", ()), getattr(part, "layout", None)]
    for each in [*inside, getattr(part, "style", None)]:
        if each is not None:
            _close(each)
    part.close()
