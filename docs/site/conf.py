"""Sphinx's settings for the pages that build.py stages: nothing of them comes from a network."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging


project = html_title = "labkit"
extensions = ["myst_nb"]
exclude_patterns = ["**.ipynb_checkpoints"]

nb_execution_mode = "off"  # they come with their outputs
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]  # commands of notebooks are no Python
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_dmath_double_inline = True

html_theme = "sphinx_book_theme"
html_theme_options = {
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the search is beside the page
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
html_context = {"default_mode": "auto"}  # as the reader's system has it
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js", ("recorded.js", {"defer": "defer"})]
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_copyright = False

html_math_renderer = "mathml"
WRITTEN_OUT = {"\\|": "‖", "\\arg": "arg"}  # what the converter leaves as it is
log = logging.getLogger(__name__)


def mathml(node, display):
    """A formula as browsers draw it by themselves."""
    made = convert(node.astext(), display=display)
    for command, text in WRITTEN_OUT.items():
        made = made.replace(f">{command}<", f">{text}<")
    if "\\" in made:
        source = node.astext()
        log.warning("a formula with a command that is not known: %s", source, location=node)
    return made


def inline(self, node):
    self.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def block(self, node):
    self.body.append(f'<div class="math">{mathml(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
