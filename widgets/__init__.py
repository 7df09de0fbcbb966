"""Live views of labkit's methods for Jupyter.  No mathematics lives here."""

from widgets.explorer import Explorer


__all__ = ["Explorer"]
