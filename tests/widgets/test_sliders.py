"""What a page is told when the kernel sets a slider."""

import pytest

from widgets.sliders import LogSlider, RowSlider, Slider


@pytest.mark.parametrize("kind", [Slider, LogSlider, RowSlider])
def test_the_range_comes_before_the_value(kind, monkeypatch):
    sent = []
    slider = kind(1, min=0, max=2)
    monkeypatch.setattr(slider, "_send", lambda message, buffers=None: sent.append(message))
    with slider.hold_sync():
        slider.value = 2
        slider.disabled = True
        slider.max, slider.step, slider.min = 9, 3, -1
        slider.description = "lr"
        slider.value = 9
    [message] = sent
    assert list(message["state"])[-1] == "value"
    assert message["state"]["value"] == 9
    assert message["state"]["max"] == 9
    slider.send_state("max")
    assert sent[-1]["state"] == {"max": 9}
    slider.send_state()
    assert set(sent[-1]["state"]) > {"min", "max", "value", "description"}
