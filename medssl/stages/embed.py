"""Give the features of scans as a table, and show what lies next to what.

Every scan is looked at by the frozen backbone in boxes that cover it. embeddings.parquet (or .npz) has
a row a scan: id, patient, split, modality, labels, and its features, averages over places of all levels
side by side; with places=N also those of single places, in dense.parquet. retrieval.png shows some
scans beside those of other patients that are most alike, pca.png all scans as a map. In Python the same
is an estimator of scikit-learn: medssl.training.embedder.Embedder.
"""

import importlib.util
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.config import Count
from medssl.data.files import write_atomically
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.errors import UserError
from medssl.progress import say
from medssl.reports import neighbours
from medssl.reports.style import as_png
from medssl.training.embedder import Embedder
from medssl.training.hardware import Hardware

KEPT = ("patient", "split", "modality")


class Config(Base, Hardware):
    positional: ClassVar = ("run",)
    examples: ClassVar = (
        "medssl embed runs/voco store=store out=features",
        "medssl embed runs/mae store=store format=npz places=200 colour=finding",
    )
    run: Path = Field(description="run or model folder")
    store: Path = Field(Path("store"), description="store of the scans")
    out: Path | None = Field(None, description="folder to write to; none: RUN/embeddings")
    format: Literal["parquet", "npz"] = Field("parquet", description="of the tables")
    places: int = Field(0, description="single places of a scan to give, too; 0: none", ge=0)
    splits: list[str] = Field([], description="scans to embed, by split; empty: all")
    size: list[Count] = Field([], description="voxels of a box; empty: what the model trained on")
    whole: bool | None = Field(
        None, description="whole scans (or slices) resized to size; none: as trained"
    )
    boxes: int = Field(64, description="boxes of a scan at most", ge=1)
    batch_size: int = Field(8, description="boxes of one forward pass", ge=1)
    maps: list[Literal["pca", "umap"]] = Field(
        ["pca"], description="maps to draw; umap if installed"
    )
    colour: str = Field("", description="column that colours the maps; empty: modality, or split")
    queries: int = Field(6, description="scans that retrieval.png begins with; 0: no picture", ge=0)
    k: int = Field(4, description="scans beside each of them", ge=1)
    seed: int = Field(0, description="of what is drawn")


def items_of(config: Config, store: Store) -> pd.DataFrame:
    """The scans to embed. Raises UserError EMPTY if no scan has one of the splits."""
    items = of_splits(store.items, config.splits) if config.splits else store.items
    if items.empty:
        raise UserError(
            "EMPTY", f"splits={','.join(config.splits)}", "no scan has one of these splits",
            f"name some of {', '.join(sorted(map(str, store.items['split'].unique())))}",
        )  # fmt: skip
    return items


def run(config: Config) -> Path:
    if "umap" in config.maps and importlib.util.find_spec("umap") is None:
        raise UserError(
            "INSTALL",
            "maps=umap",
            "umap is not installed",
            "pip install 'medssl[maps]' (umap-learn), or maps=pca",
        )
    config.take()
    store = Store.read_from(config.store)
    items = items_of(config, store)
    groups, name = _colours(items, config.colour)
    embedder = Embedder(
        config.run, config.store, size=config.size or None, whole=config.whole, boxes=config.boxes,
        batch_size=config.batch_size, seed=config.seed, device=config.device,
    ).fit()  # fmt: skip
    ids = [str(i) for i in items.index]
    pooled, dense = embedder.look(ids, config.places)
    out = config.out or config.run / "embeddings"
    if config.out and out.exists() and any(out.iterdir()):
        raise UserError("CONFIG", f"out={out}", "is there already", "choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    known = [c for c in items if c in KEPT or (c.startswith("label_"))]
    table = items[known].reset_index(drop=True)
    table.insert(0, "id", ids)
    if config.format == "npz":
        _write_npz(out / "embeddings.npz", table, pooled, dense)
    else:
        _write_parquet(out, table, pooled, dense)
    _draw(out, store, ids, pooled, groups, name, config)
    say(
        f"features of {len(ids)} scans of {items['patient'].nunique()} patients, {pooled.shape[1]} each"
    )
    return out


def _colours(items: pd.DataFrame, asked: str) -> tuple[list[str], str]:
    """The groups of a map, and what they are."""
    for column in (asked, f"label_{asked}") if asked else ("modality", "split"):
        if column in items and (asked or items[column].nunique() > 1):
            return items[column].astype(str).tolist(), column.removeprefix("label_")
    if asked:
        there = [c.removeprefix("label_") for c in items if c in KEPT or c.startswith("label_")]
        raise UserError(
            "CONFIG", f"colour={asked}", "is no column of the store", f"choose one of {', '.join(there)}"
        )  # fmt: skip
    return [""] * len(items), ""


def _write_npz(path: Path, table: pd.DataFrame, pooled, dense) -> None:
    """Arrays without objects, so that they load without a pickle."""
    arrays = {name: table[name].astype(str).to_numpy(str) for name in table}
    arrays["ids"] = arrays.pop("id")
    arrays["pooled"] = pooled
    if dense:
        arrays["dense_of"] = np.repeat(np.arange(len(dense)), [len(at) for at, _ in dense])
        arrays["dense_at"] = np.concatenate([at for at, _ in dense]).astype(np.float32)
        arrays["dense"] = np.concatenate([features for _, features in dense])

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:  # numpy would add an ending to a name
            np.savez(stream, **arrays)

    write_atomically(path, write)


def _write_parquet(out: Path, table: pd.DataFrame, pooled, dense) -> None:
    table = table.assign(features=list(pooled))
    write_atomically(out / "embeddings.parquet", lambda p: table.to_parquet(p, index=False))
    if dense:
        rows = pd.DataFrame({
            "id": np.repeat(table["id"].to_numpy(object), [len(at) for at, _ in dense]),
            "at": [tuple(map(float, place)) for at, _ in dense for place in at],
            "features": [row for _, features in dense for row in features],
        })  # fmt: skip
        write_atomically(out / "dense.parquet", lambda p: rows.to_parquet(p, index=False))


def _draw(out, store, ids, pooled, groups, name, config: Config) -> None:
    if len(ids) > 2:
        for kind in config.maps:
            points, axes = _projected(pooled, kind, config.seed)
            figure = neighbours.map_of(points, groups, name, axes)
            (out / f"{kind}.png").write_bytes(as_png(figure))
    figure = (
        neighbours.retrieval(store, ids, pooled, config.queries, config.k)
        if config.queries
        else None
    )
    if figure is not None:
        (out / "retrieval.png").write_bytes(as_png(figure))
    elif config.queries:
        say(f"remark: no retrieval.png: it takes scans of more than {config.k} other patients' scans "
            "that may be shown")  # fmt: skip


def _projected(pooled: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    """Two numbers a scan, and what they are called."""
    spread = pooled.std(0)
    scaled = (pooled - pooled.mean(0)) / np.where(spread > 1e-8, spread, 1)
    if kind == "umap":
        import umap

        made = umap.UMAP(random_state=seed, n_neighbors=min(15, len(pooled) - 1))
        return made.fit_transform(scaled), ("UMAP 1", "UMAP 2")
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=seed).fit(scaled)
    shares = pca.explained_variance_ratio_
    return pca.transform(scaled), tuple(
        f"component {i + 1} ({s:.0%})" for i, s in enumerate(shares)
    )
