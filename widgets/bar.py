"""The row over a figure: its buttons, and how things stand."""

import html
from collections.abc import Callable

import ipywidgets


NARROW = {"description_width": "3em"}  # of a control's label


class Bar:
    """Play (which is Stop while a run goes on), Step, Reset, the seed, Code, and the status.

    `parts` are further widgets of the row; the line of Python that `show_code` shows stands in
    a box of its own.
    """

    def __init__(
        self,
        seed: int,
        *parts: ipywidgets.Widget,
        toggle: Callable[[], None],
        step: Callable[[], None],
        reset: Callable[..., None],
        copy: Callable[[], None],
    ):
        self._play = _button("Play", "play", "go on, or start again", toggle)
        self._seed = ipywidgets.IntText(
            seed, description="seed", layout={"width": "9em"}, style=NARROW
        )
        self._seed.observe(lambda change: reset(change["new"]), "value")
        self.buttons = [
            self._play,
            _button("Step", "step-forward", "see one row more", step),
            _button("Reset", "undo", "back to the start", reset),
            _button("Code", "copy", "the line of Python that makes this run", copy),
        ]
        self.line = ipywidgets.Text(
            description="code", layout={"width": "100%", "display": "none"}, style=NARROW
        )
        self._status = ipywidgets.HTML("ready")
        self._status.add_class("labkit-status")
        *first, code = self.buttons
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        shown = [*first, self._seed, *parts, code, self._status]
        self.row = ipywidgets.HBox(shown, layout=wrap)

    @property
    def stops(self) -> bool:
        """Whether a click on Play means Stop."""
        return self._play.description == "Stop"

    def touched(self) -> list[ipywidgets.Widget]:
        """All that a person can touch, but for `parts`."""
        return [*self.buttons, self._seed]

    def mark(self, going: bool, status: str, refusal: str) -> None:
        """Say how things stand."""
        name, icon = ("Stop", "stop") if going else ("Play", "play")
        if self._play.description != name:
            with self._play.hold_sync():  # one message, not two
                self._play.description, self._play.icon = name, icon
        busy = " aria-busy='true'" if going else ""  # the page tells a reader what comes to rest
        said = f"<span{busy}>{html.escape(status)}</span>"
        if refusal:
            said = f"<span class='labkit-refusal'>{html.escape(refusal)}</span> {said}"
        if self._status.value != said:
            self._status.value = said

    def show_seed(self, seed: int) -> None:
        """Set the box of the seed."""
        self._seed.value = seed

    def show_code(self, line: str) -> None:
        """Show a line of Python."""
        self.line.value, self.line.layout.display = line, None

    def hide_code(self) -> None:
        """It tells of a run that is over."""
        if self.line.layout.display is None:
            self.line.layout.display = "none"


def _button(name: str, icon: str, about: str, press: Callable[[], None]) -> ipywidgets.Button:
    button = ipywidgets.Button(description=name, icon=icon, tooltip=about, layout={"width": "6em"})
    button.add_class("labkit-" + name.lower())
    button.on_click(lambda _: press())
    return button
