"""The sheet of all marks, for every test of a renderer."""

import importlib.util
from pathlib import Path

import pytest


_spec = importlib.util.spec_from_file_location("render_sheet", Path(__file__).parent / "sheet.py")
_sheet = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_sheet)


@pytest.fixture
def sheet():
    """The panels with all marks, by the kind of their data."""
    return _sheet.panels


@pytest.fixture(params=_sheet.KINDS)
def unusual(request):
    """The same panels, once for each kind of data."""
    return _sheet.panels(request.param)
