"""One self-contained page: everything inside, nothing fetched, no script."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from medssl.reports.style import as_png, data_uri, width_on_page

FEWEST_COLUMNS, MOST_COLUMNS = 3, 5  # of tiles


@dataclass
class Section:
    """A part of the page, set in this order.

    text      paragraphs, parted by empty lines
    caution   what a reader must not miss, in paragraphs; set apart
    facts     name and value, shown as tiles
    tables    (data frame, caption); numbers are set right-aligned
    formats   column name to format of its numbers, such as ".1f"; without: integers as they are,
              other numbers with three decimals
    figures   (Figure or PNG bytes, caption, alternative text)
    commands  shell lines
    """

    title: str
    text: str = ""
    caution: str = ""
    facts: dict[str, object] = field(default_factory=dict)
    tables: Sequence[tuple[pd.DataFrame, str]] = ()
    formats: dict[str, str] = field(default_factory=dict)
    figures: Sequence[tuple[Figure | bytes, str, str]] = ()
    commands: Sequence[str] = ()


def write(path: Path, title: str, subtitle: str, sections: list[Section], footer: str = "") -> Path:
    """Render the page. All text is escaped, and what stands between backticks set as code; figures and
    tables are numbered in their order."""
    environment = Environment(
        loader=PackageLoader("medssl.reports"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["prose"] = _prose
    figures = iter(range(1, 1 + sum(len(s.figures) for s in sections)))
    tables = iter(range(1, 1 + sum(len(s.tables) for s in sections)))
    shown = [
        {
            "id": f"s{i}",
            "title": s.title,
            "paragraphs": _paragraphs(s.text),
            "cautions": _paragraphs(s.caution),
            "facts": [(name, *_fact(value)) for name, value in s.facts.items()],
            "columns": _columns(len(s.facts)),
            "commands": "\n".join(s.commands),
            "tables": [{"number": next(tables), "caption": c, **_table(t, s.formats)}
                       for t, c in s.tables],
            "figures": [{"number": next(figures), "caption": c, "alt": a, **_image(f)}
                        for f, c, a in s.figures],
        }
        for i, s in enumerate(sections)
    ]  # fmt: skip
    page = environment.get_template("report.html.j2").render(
        title=title, subtitle=subtitle, sections=shown, footer=footer
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def _paragraphs(text: str) -> list[str]:
    return [p.strip() for p in text.split("\n\n") if p.strip()]


def _prose(text: str) -> Markup:
    """Escaped; what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _image(figure: Figure | bytes) -> dict:
    png = figure if isinstance(figure, bytes) else as_png(figure)
    return {"data": data_uri(png), "width": width_on_page(png)}


def _table(frame: pd.DataFrame, formats: dict[str, str]) -> dict:
    numeric = [
        pd.api.types.is_numeric_dtype(frame[c]) and not pd.api.types.is_bool_dtype(frame[c])
        for c in frame
    ]
    specs = [formats.get(c, "") for c in frame]
    rows = [
        [_cell(v, spec) for v, spec in zip(row, specs, strict=True)]
        for row in frame.itertuples(index=False)
    ]
    return {"head": list(zip(frame.columns, numeric, strict=True)), "rows": rows}


def _fact(value: object) -> tuple[str, str]:
    """What a tile shows, and what stands behind it in parentheses, such as an interval."""
    text = _cell(value)
    head, space, behind = text.partition(" (")
    return (head, f"({behind}") if space and text.endswith(")") else (text, "")


def _columns(tiles: int) -> int:
    """Of rows that are as even as can be: six tiles stand in two rows of three."""
    rows = max(1, math.ceil(tiles / MOST_COLUMNS))
    return max(FEWEST_COLUMNS, math.ceil(tiles / rows))


def _cell(value: object, spec: str = "") -> str:
    if isinstance(value, bool) or not isinstance(value, Real):
        return "\N{EN DASH}" if value is None or value is pd.NA else str(value)
    if math.isnan(value):
        return "not defined"
    spec = spec or ("d" if isinstance(value, Integral) else "z.3f")
    return format(value, spec).replace("-", "\N{MINUS SIGN}")
