"""Colours, dashes and markers: the same for the same, different for the different."""

import pytest

from labkit.render import look


LIGHT, DARK = look.THEMES["light"], look.THEMES["dark"]


def luminance(color):
    """Of a colour, as the WCAG has it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """From 1 to 21."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_a_known_role_looks_the_same_in_every_panel():
    one = look.styles(["loss", "sharpness"], LIGHT)
    other = look.styles(["something", "train_loss", "loss"], LIGHT)
    assert one["loss"] == other["loss"]
    assert look.styles(["test_loss"], LIGHT) == {
        "test_loss": look.styles(["test loss"], LIGHT)["test loss"]
    }


def test_what_it_comes_from_decides_before_what_it_measures():
    style = look.styles(["central_flow_loss"], LIGHT)["central_flow_loss"]
    assert style == look.styles(["central flow"], LIGHT)["central flow"]


def test_no_two_roles_of_a_panel_look_the_same():
    roles = [*look.ROLES, *map("eigenvalues {}".format, range(1, 4)), "one", "two", "three"]
    for theme in (LIGHT, DARK):
        for start in range(0, len(roles), 8):
            made = look.styles(roles[start : start + 8], theme)
            assert len({style[:2] for style in made.values()}) == len(made)


def test_numbered_roles_are_neighbours_that_differ_in_every_cue():
    made = list(look.styles(["eigenvalues 1", "eigenvalues 2"], LIGHT).values())
    assert all(one != other for one, other in zip(*made, strict=True))


def test_ghosts_stay_grey():
    roles = ["ghost", "ghost loss", "ghost eigenvalues 2", "previous"]
    assert {style.color for style in look.styles(roles, LIGHT).values()} == {LIGHT.ghost}


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_words_and_lines_stand_out_from_the_background(theme):
    assert contrast(theme.ink, theme.background) > 7  # WCAG AAA for words
    for color in [*look.COLORS.values(), theme.ghost]:
        assert contrast(color, theme.background) > 2
    for color in look.cividis(theme.field_part):
        assert contrast(color, theme.background) > 1.8


def test_cividis_is_matplotlibs():
    import matplotlib
    from matplotlib.colors import to_rgb

    for i, color in enumerate(look.cividis()):
        wanted = matplotlib.colormaps["cividis"](i / 8)[:3]
        assert to_rgb(color) == pytest.approx(wanted, abs=0.01)


def test_an_unknown_theme_is_refused_by_name():
    with pytest.raises(ValueError, match="sepia"):
        look.theme_of("sepia")


@pytest.mark.parametrize(
    "number, label",
    [(0, "0"), (0.5, "0.5"), (-2, "−2"), (1e-4, "10⁻⁴"), (2.5e6, "2.5·10⁶"), (-1e7, "−10⁷")],
)
def test_tick_labels_are_short_and_need_no_tex(number, label):
    assert look.superscript(number) == label
