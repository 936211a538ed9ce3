"""One self-contained page: everything inside, nothing fetched, no script."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from medssl.reports.figures import as_png


@dataclass
class Section:
    """A part of the page.

    figures   (Figure or PNG bytes, caption, alternative text)
    tables    data frames; numbers are set right-aligned
    facts     name and value, shown as tiles
    commands  shell lines
    """

    title: str
    text: str = ""
    figures: Sequence[tuple[Figure | bytes, str, str]] = ()
    tables: Sequence[pd.DataFrame] = ()
    facts: dict[str, object] = field(default_factory=dict)
    commands: Sequence[str] = ()


def write(path: Path, title: str, subtitle: str, sections: list[Section], footer: str = "") -> Path:
    """Render the page. All text is escaped."""
    environment = Environment(
        loader=PackageLoader("medssl.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    shown = [
        {
            "id": f"s{i}",
            "title": s.title,
            "text": s.text,
            "facts": s.facts,
            "commands": s.commands,
            "figures": [{"data": _data(f), "caption": c, "alt": a} for f, c, a in s.figures],
            "tables": [_table(t) for t in s.tables],
        }
        for i, s in enumerate(sections)
    ]
    page = environment.get_template("report.html.j2").render(
        title=title, subtitle=subtitle, sections=shown, footer=footer
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def _data(figure: Figure | bytes) -> str:
    png = figure if isinstance(figure, bytes) else as_png(figure)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _table(frame: pd.DataFrame) -> dict:
    numeric = [pd.api.types.is_numeric_dtype(frame[c]) for c in frame]
    rows = [[_cell(v) for v in row] for row in frame.itertuples(index=False)]
    return {
        "head": list(zip(frame.columns, numeric, strict=True)),
        "rows": rows,
        "numeric": numeric,
    }


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "not defined" if math.isnan(value) else f"{value:.3f}"
    return str(value)
