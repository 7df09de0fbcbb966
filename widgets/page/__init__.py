"""What runs in the page: plain JavaScript, which needs no build.

Its files share one scope, since anywidget takes one module: `DRAWING` draws, in the lab and in a
recorded page; `RECORDED` stands in for the kernel where there is none.
"""

import importlib.util
import json
from pathlib import Path


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


DRAWING = "\n".join(
    [
        f"const STYLE = {json.dumps(_read('style.css'))};",
        *map(_read, ("library.js", "store.js", "model.js", "paint.js")),
        *map(_read, ("hands.js", "stops.js", "keys.js", "reach.js", "access.js", "view.js")),
    ]
)
RECORDED = _read("recorded.js")


def plotly_js() -> bytes:
    """The plotly.js of the plotly package, which is found without importing it.

    Raises ImportError when plotly is not installed.
    """
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise ImportError("live figures need plotly: install labkit with its extra `lab`")
    package = Path(found.submodule_search_locations[0])
    return (package / "package_data" / "plotly.min.js").read_bytes()
