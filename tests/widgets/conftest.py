"""Explorers for tests, without a page."""

import pytest

from widgets import Explorer
from widgets.scheduler import scheduler


@pytest.fixture
def explore():
    """`explore(method, views, ...)` makes an Explorer that is closed in the end."""
    made = []

    def make(*arguments, **options):
        made.append(Explorer(*arguments, **{"pace": None} | options))
        return made[-1]

    yield make
    for explorer in made:
        explorer.close()
    scheduler.end()
