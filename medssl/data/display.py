"""What Jupyter shows of a manifest or a store, and the form in which it shows a run: facts, small
pictures, short tables.

HTML without script or style sheet, so that it looks the same wherever a notebook is read. All text
is escaped. What is shown are ids and figures, never paths.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from nibabel.orientations import aff2axcodes
from PIL import Image

from medssl.data.volume import Volume, reorient

if TYPE_CHECKING:
    from medssl.data.manifest import Manifest
    from medssl.data.store import Store

FAINT = "color:#77838f"
THUMBNAIL = 96  # pixels of the longer side
DRAWN, LISTED = 6, 5  # scans


@dataclass(frozen=True)
class Shown:
    """A piece of a page, as Jupyter shows it; `write` makes a page of its own."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def write(self, path: Path) -> Path:
        head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>medssl</title>'
        Path(path).write_text(f"{head}<body>{self.html}</body></html>\n", encoding="utf-8")
        return Path(path)


def of_manifest(manifest: "Manifest") -> str:
    """Without paths, notes and the labels of single scans, which may tell whose they are."""
    used, refused = manifest.used, manifest.refused
    title = f"Manifest: {len(used)} scans of {used['patient'].nunique()} patients"
    facts = {
        "formats": counts(used["format"] + " " + used["modality"].replace("", "(no modality)")),
        "splits": counts(used["split"].replace("", "none")),
        "with masks": int((used["label_mask"] != "").sum()),
        "with boxes": int((used["boxes"] != "").sum()),
        "labels": ", ".join(c.removeprefix("label_") for c in manifest.label_columns),
    }
    rows = used[["id", "patient", "modality", "split", "shape", "spacing"]].head(LISTED)
    tables = [(_first(rows, used), rows.rename(columns={"spacing": "mm"}))]
    if len(refused):
        codes = refused["code"].value_counts().rename_axis("code").reset_index(name="entries")
        tables.append((f"Refused entries: {len(refused)}; manifest.csv says why.", codes))
    return panel(title, {name: value for name, value in facts.items() if value}, tables)


def of_store(store: "Store") -> str:
    """With the middle slices of a few scans; those with text in their pixels are not drawn."""
    items = store.items
    title = f"Store: {len(items)} scans of {items['patient'].nunique()} patients"
    facts = {
        "recipe": store.recipe,
        "splits": counts(items["split"].replace("", "none")),
        "with masks": int(items["has_mask"].sum()),
    }
    rows = items[["id", "patient", "modality", "split", "has_mask"]].head(LISTED)
    rows = rows.rename(columns={"has_mask": "mask"}).assign(
        shape=["x".join(map(str, store.shape(i))) for i in rows.index],
        mm=["x".join(f"{s:.3g}" for s in store.spacing(i)) for i in rows.index],
    )
    drawable = items.index[~store.burned_in]
    pictures = [(*_middle(store, item), item) for item in drawable[:DRAWN]]
    return panel(title, facts, [(_first(rows, items), rows)], pictures)


def _first(rows: pd.DataFrame, of: pd.DataFrame) -> str:
    return f"The first {len(rows)} of {len(of)}." if len(rows) < len(of) else "Each scan."


def _middle(store: "Store", item: str) -> tuple[str, int]:
    """A thumbnail of the middle axial slice as a radiologist sees it, or of the film."""
    shape, affine = store.shape(item), store.affine(item)
    if len(shape) == 2:
        return thumbnail(store.read(item).mean(0), store.spacing(item))
    up = next(axis for axis, code in enumerate(aff2axcodes(affine)) if code in "SI")
    low, high = [0, 0, 0], list(shape)
    low[up], high[up] = shape[up] // 2, shape[up] // 2 + 1
    slab = reorient(Volume(store.read(item, low, high), affine), "RAS")
    return thumbnail(slab.array[0, ::-1, ::-1, 0].T, slab.spacing[1::-1])


def panel(
    title: str, facts: dict[str, object], tables: Sequence[tuple[str, pd.DataFrame]] = (),
    pictures: Sequence[tuple[str, int, str]] = (),
) -> str:  # fmt: skip
    """A heading, a line of facts, pictures side by side, tables (caption, data) one below the other.

    pictures  (data URI, width in pixels, caption)
    """
    e = html.escape
    lines = [f'<div style="margin:.3em 0"><b>{e(title)}</b></div>']
    told = [
        f'<span style="margin-right:1.5em"><span style="{FAINT}">{e(name)}</span> {e(str(value))}</span>'
        for name, value in facts.items()
    ]
    lines.append(f"<div>{' '.join(told)}</div>")
    shown = [
        '<figure style="display:inline-block;margin:.6em .8em .2em 0;vertical-align:bottom">'
        f'<img src="{e(source)}" width="{width}" alt="{e(caption)}" style="max-width:100%">'
        f'<figcaption style="{FAINT};font-size:85%">{e(caption)}</figcaption></figure>'
        for source, width, caption in pictures
    ]
    lines.append(f"<div>{''.join(shown)}</div>" if shown else "")
    for caption, table in tables:
        lines.append(f'<div style="margin-top:.6em;{FAINT}">{e(caption)}</div>')
        lines.append(table.to_html(index=False, escape=True, border=0))
    return f"<div>{''.join(lines)}</div>"


def counts(values: pd.Series) -> str:
    """`train 4, test 2`: how often each value occurs, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in values.value_counts().items())


def grey_levels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8, 0 at `low` and below, 255 at `high` and above."""
    scaled = (np.nan_to_num(image.astype(np.float32), nan=low) - low) / max(high - low, 1e-12)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def thumbnail(picture: np.ndarray, spacing: Sequence[float]) -> tuple[str, int]:
    """A slice or film (rows, columns) in its own grey scale and true proportions: data URI and width.

    `spacing` is the size of a pixel along rows and columns.
    """
    low, high = np.percentile(picture, [0.5, 99.7])
    extent = np.array(picture.shape) * spacing
    rows, columns = np.maximum(extent / extent.max() * THUMBNAIL, 1).round().astype(int)
    grey = Image.fromarray(grey_levels(picture, low, high))
    columns = int(columns)
    return encoded(grey.resize((columns, int(rows)), Image.Resampling.BILINEAR)), columns


def encoded(image: Image.Image, kind: str = "png", **options) -> str:
    """An image as what an `<img src>` takes."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
