"""The look of every figure, and how figures leave as files.

Figures are matplotlib `Figure` objects: nothing here touches pyplot or any state outside a call.
"""

import base64
import functools
import io
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

INK, SOFT, FAINT = "#1b2733", "#5b6875", "#9aa7b3"
BLUE, ORANGE, GREEN = "#0f6fb5", "#d8641c", "#00866b"
LINES = (BLUE, ORANGE, GREEN, "#a3508a", "#8a6d00", INK)
# On grey images: bright, and told apart without colour vision (after Okabe and Ito).
COLOURS = ("#e69f00", "#56b4e9", "#00b383", "#f0e442", "#cc79a7", "#d55e00", "#7aa6ff", "#b9d532")
DPI = 160
PIXELS_PER_INCH = 100  # of a page, for figures: 9 pt letters come out a little under body text
STYLE = {
    "font.family": "sans-serif", "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
    "axes.titlelocation": "left", "axes.titlepad": 5, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "legend.frameon": False, "text.color": INK,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "xtick.color": FAINT, "ytick.color": FAINT,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.size": 3, "ytick.major.size": 3,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "grid.color": "#e7ecf0", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "figure.facecolor": "white", "savefig.facecolor": "white", "lines.linewidth": 1.5,
    "svg.fonttype": "path", "svg.hashsalt": "medssl",
}  # fmt: skip


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a drawing function under this style; Jupyter shows what it returns."""

    @functools.wraps(draw)
    def drawn(*arguments, **options) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*arguments, **options)
        # Left to itself, Jupyter shows figures of pyplot alone, and in its own style.
        figure._repr_png_ = functools.partial(_for_jupyter, figure)
        return figure

    return drawn


def _for_jupyter(figure: Figure) -> tuple[bytes, dict[str, int]]:
    png = as_png(figure)
    return png, {"width": width_on_page(png)}


def width_on_page(png: bytes) -> int:
    """Pixels of a page that a figure takes."""
    return round(int.from_bytes(png[16:20], "big") * PIXELS_PER_INCH / DPI)  # 16: in every header


def as_png(figure: Figure, dpi: int = DPI) -> bytes:
    return _saved(figure, "png", dpi=dpi)


def as_svg(figure: Figure) -> bytes:
    """The same bytes for the same figure: no date, letters as outlines."""
    return _saved(figure, "svg", metadata={"Date": None})


def data_uri(figure: Figure | bytes) -> str:
    """A figure, or the bytes of a PNG or SVG, as what an `<img src>` takes."""
    data = as_png(figure) if isinstance(figure, Figure) else figure
    kind = "png" if data.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def _saved(figure: Figure, kind: str, **options) -> bytes:
    out = io.BytesIO()
    with mpl.rc_context(STYLE):  # some of it is read only when the figure is drawn
        figure.savefig(out, format=kind, bbox_inches="tight", pad_inches=0.06, **options)
    return out.getvalue()
