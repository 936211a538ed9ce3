import base64

import matplotlib as mpl
from matplotlib.figure import Figure

from medssl.reports.style import STYLE, as_png, as_svg, data_uri, styled, width_on_page


@styled
def line(width: float = 1.0) -> Figure:
    """A line."""
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1], [0, 1], linewidth=width)
    return figure


def test_files_are_what_they_say_and_the_same_again():
    assert as_png(line()).startswith(b"\x89PNG")
    assert b"<svg" in as_svg(line()) and b"<image" not in as_svg(line())
    assert as_png(line()) == as_png(line())
    assert as_svg(line()) == as_svg(line())


def test_data_uri_of_figures_png_and_svg():
    for figure, kind in ((line(), "png"), (as_png(line()), "png"), (as_svg(line()), "svg+xml")):
        head, _, data = data_uri(figure).partition(",")
        assert head == f"data:image/{kind};base64"
        assert base64.b64decode(data)


def test_the_style_holds_inside_and_leaves_nothing_behind():
    before = dict(mpl.rcParams)
    assert line.__doc__ == "A line."
    assert line().axes[0].spines["top"].get_visible() is STYLE["axes.spines.top"] is False
    as_png(line())
    assert dict(mpl.rcParams) == before


def test_jupyter_shows_figures_as_they_leave_in_files():
    png, size = line()._repr_png_()
    assert png == as_png(line()) and size == {"width": width_on_page(png)}
    wide = int.from_bytes(png[16:20], "big")
    assert size["width"] == round(wide / 1.6)
