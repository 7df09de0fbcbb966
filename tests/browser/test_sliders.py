"""Every slider of a notebook, at both of its ends, under the keyboard.

All notebooks of relaxations with LABKIT_BROWSER=all (`make test-all`), none otherwise.
"""

import os

import pytest
from browser.test_notebooks import TRIED


pytestmark = pytest.mark.browser

WHOLE = os.environ.get("LABKIT_BROWSER") == "all"
NAMES = [name for name in TRIED if WHOLE and name.startswith("relaxations/")]


@pytest.mark.parametrize("name", NAMES)
def test_every_slider_goes_to_both_ends_and_the_widget_stays_alive(lab, name, keep_picture):
    with lab.open(name) as notebook:
        notebook.run_all()
        for index in range(notebook.widgets):
            widget = notebook.widget(index)
            handles = widget.place.locator(".noUi-handle")
            for at in range(handles.count()):
                for key in ("End", "Home"):
                    before, stood = widget.seq, handles.nth(at).get_attribute("aria-valuenow")
                    handles.nth(at).focus()
                    notebook.page.keyboard.press(key)
                    if handles.nth(at).get_attribute("aria-valuenow") != stood:
                        # Drawn anew, or refused in words: one knob may bound another.
                        answered = lambda: widget.seq > before or "is refused" in widget.status  # noqa: B023
                        widget.wait_until(answered, f"slider {at} to its {key}")
            if "running" in widget.status:
                widget.press("play")  # which says Stop now
            widget.settle()
            print(name, index, handles.count(), "sliders;", widget.status, "|", widget.words)
            keep_picture(notebook.page, f"{name.replace('/', '-')}-{index}")
        assert not notebook.complaints()
        assert not notebook.failed
        assert not notebook.errors
