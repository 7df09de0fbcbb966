"""Pictures of records: still here, live in the widgets, all from the same views.

`figure(record, views)` is what a notebook shows and `save` what a page or a paper takes.
The libraries that draw are imported when something is drawn, and not before.
"""

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import refusal


if TYPE_CHECKING:
    from labkit.record import Record
    from labkit.views import Panel


@dataclasses.dataclass(frozen=True, eq=False)
class Still:
    """A figure that shows itself in a notebook, says itself in words, and can be saved."""

    panels: "Sequence[Panel]"
    theme: str = "light"

    def save(self, path: str | Path) -> Path:
        """Write the figure as the suffix says: png, svg, pdf, or html to look around in."""
        path = Path(path)
        if path.suffix not in (".png", ".svg", ".pdf", ".html"):
            raise refusal("path", str(path), "a name that ends in .png, .svg, .pdf or .html")
        if path.suffix == ".html":
            from labkit.render.plotly import html

            return html(self.panels, path, self.theme)
        from labkit.render.matplotlib import figure

        drawn = figure(self.panels, self.theme)
        # A date in the file would make two equal pictures differ.
        undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        drawn.savefig(path, dpi=2 * drawn.dpi, metadata=undated)
        return path

    def png(self) -> tuple[bytes, int, int]:
        """The picture at twice its size, for sharp screens; its width and height in pixels."""
        from labkit.render.matplotlib import figure

        drawn, file = figure(self.panels, self.theme), io.BytesIO()
        drawn.savefig(file, format="png", dpi=2 * drawn.dpi)
        width, height = drawn.get_size_inches() * drawn.dpi
        return file.getvalue(), round(width), round(height)

    def __str__(self) -> str:
        from labkit.render.text import describe

        return describe(self.panels)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict, dict]:
        png, width, height = self.png()
        shown = {"image/png": base64.b64encode(png).decode(), "text/plain": str(self)}
        return shown, {"image/png": {"width": width, "height": height}}


def figure(
    record: "Record", views: "Sequence[Callable[[Record], Panel]]", theme: str = "light"
) -> Still:
    """What the views say of a record, as a figure."""
    return Still([view(record) for view in views], theme)
