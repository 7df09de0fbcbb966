"""Colours, dashes and markers: the same for the same, different for the different."""

import itertools

import numpy as np
import pytest

from labkit.render import look


LIGHT, DARK = look.THEMES["light"], look.THEMES["dark"]


# What eyes without long, middle or short cones make of linear colours: Machado, Oliveira and
# Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency".
SEEN = {
    "all cones": np.eye(3),
    "no long": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    ),
    "no middle": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    ),
    "no short": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    ),
}


def linear(color):
    """Red, green and blue as amounts of light."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lightness_and_hue(light):
    """Amounts of light as OKLab (Ottosson 2020), where distances are as large as they look."""
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(lab) @ np.cbrt(np.array(cones) @ np.clip(light, 0, 1))


def luminance(color):
    """Of a colour, as the WCAG has it."""
    return np.array([0.2126, 0.7152, 0.0722]) @ linear(color)


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
    for color in [*theme.colors.values(), theme.ghost, *look.cividis(theme.field_part)]:
        assert contrast(color, theme.background) > 3  # WCAG AA for what is drawn


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("eyes", SEEN)
def test_colours_stay_apart_for_eyes_that_see_fewer(theme, eyes):
    seen = [lightness_and_hue(SEEN[eyes] @ linear(color)) for color in theme.colors.values()]
    apart = [np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)]
    assert min(apart) > 0.055  # a step of OKLab that is seen without looking for it


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
