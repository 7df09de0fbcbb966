"""What the controls show."""

import pytest

from labkit.landscapes import nonsmooth_descent, sampling_box
from labkit.method import Field, fields
from widgets.controls import Controls
from widgets.sliders import LogSlider


@pytest.mark.parametrize("value", [1e-24, 1e-6, 0.1])
def test_the_readout_of_a_slider_over_many_decades_fits_beside_it(value):
    controls = Controls(fields(sampling_box.example()), lambda changes: None)
    slider = controls.widgets["ridge"]
    assert isinstance(slider, LogSlider)
    # Eight signs have room; ".3g" would give 0.00000100 in the page.
    assert len(f"{value:{slider.readout_format}}".replace("e-0", "e-")) <= 8
    assert "e" in slider.readout_format


@pytest.mark.parametrize("name", ["lr", "weights.b1", "architecture.b1"])
def test_all_labels_have_the_room_of_the_longest(name):
    known = {each: Field(each, "knob", 0.5, 0.0, 1.0) for each in (name, "other.b1", "tau")}
    sliders = Controls(known, lambda changes: None).widgets.values()
    [room] = {float(slider.style.description_width.removesuffix("em")) for slider in sliders}
    assert room >= 0.55 * max(len(slider.description) for slider in sliders)  # em of most letters
    assert {float(slider.layout.width.removesuffix("em")) - room for slider in sliders} == {16.0}


def test_a_number_of_single_precision_is_shown_as_it_was_written():
    known = fields(nonsmooth_descent.example())
    assert known["problem.smooth.w0"].value.dtype == "float32"
    controls = Controls(known, lambda changes: None)
    (box,) = [box for box in controls.boxes() if box.description == "w0"]
    assert box.value == 0.73
    controls.show(known)
    assert box.value == 0.73
