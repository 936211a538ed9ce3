"""Copies in the same store, and twins in another."""

import numpy as np
import pandas as pd
from PIL import Image

from medssl.curation.copies import NEAR, SAME
from medssl.data.selection import Selection
from medssl.data.store import Store
from medssl.stages import call
from tests.stages.reduce.made import ALL, reduced


def test_copies_are_found_dropped_and_shown_first(store, tmp_path):
    selection = reduced(store, tmp_path, copies="same", signature="every", threshold=0)
    copies = pd.read_csv(tmp_path / "copies.csv")
    found = copies[["scan", "copy", "kind"]].to_numpy().tolist()
    assert found == [["c1", "c5", NEAR], ["c0", "c3", SAME]]
    assert set(copies["differ"][0].split(", ")) == {"split", "patient"}
    table = selection.table
    assert not table[table["item"] == "c3"]["kept"].any()
    assert table[table["item"] == "c3"]["representative"].eq("c0").all()
    assert table[~table["item"].isin(["c3"])]["kept"].all()
    page = (tmp_path / "reduce.html").read_text()
    assert "Pairs that cross a split: 1" in page and page.count("data:image/png") >= 3
    both = reduced(
        store, tmp_path / "near", copies="near", signature="every", threshold=0, splits=ALL
    )
    assert sorted(both.table[~both.table["kept"]]["item"].unique()) == ["c3", "c5"]
    listed = reduced(store, tmp_path / "l", copies="list", signature="every", threshold=0)
    assert listed.table["kept"].all() and (tmp_path / "l/copies.csv").exists()
    before = (
        "before copies of scans are dropped"  # the curve is of the cover, the tiles of what stays
    )
    everything = (tmp_path / "l/reduce.html").read_text()
    assert before in page and before not in everything
    assert "Nothing was dropped." in everything and "all values are alike" not in everything


def test_a_copy_of_a_scan_that_was_not_chosen_still_yields_to_the_first_that_was(store, tmp_path):
    selection = reduced(
        store, tmp_path, signature="every", threshold=0, copies="near", splits=["test"]
    )
    assert selection.table["item"].unique().tolist() == ["c5"] and selection.table["kept"].all()


def test_films_and_their_twins_in_another_store(films, tmp_path):
    out = call("reduce", "copies", store=films / "sa", against=films / "sb", out=tmp_path)
    selection = Selection.read(out, Store.read_from(films / "sa"))
    assert selection.table["slice"].eq(-1).all() and selection.table["kept"].sum() == 8
    assert sorted(selection.table[~selection.table["kept"]]["item"]) == ["g0", "g1"]
    twins = pd.read_csv(out / "twins.csv")
    assert sorted(zip(twins["scan"], twins["copy"], strict=True)) == [("f3", "h3"), ("f4", "h4")]
    assert "must not be tested" in (out / "reduce.html").read_text()


def test_the_preset_drops_copies_and_not_what_only_hashes_alike(tmp_path):
    (tmp_path / "a").mkdir()
    y, x = np.mgrid[:192, :192] / 192
    draw = np.random.default_rng(0)
    waves = [
        draw.normal() * np.cos(np.pi * u * x) * np.cos(np.pi * v * y)
        for u in range(8)
        for v in range(8)
    ]
    for i in range(3):  # stripes too fine for a hash
        stripes = np.sign(np.cos(np.pi * (48 + 8 * i) * (x if i % 2 else y)))
        film = np.clip(128 + 14 * sum(waves) + 40 * stripes, 0, 255).astype(np.uint8)
        Image.fromarray(film).save(tmp_path / f"a/f{i}.png")
    call("index", scans=tmp_path / "a", modality="DX", out=tmp_path / "m")
    call("prepare", manifest=tmp_path / "m", out=tmp_path / "s")
    hashed = reduced(tmp_path / "s", tmp_path / "h", signature="phash", threshold=0)
    assert hashed.table["kept"].sum() == 1
    out = call("reduce", "copies", store=tmp_path / "s", out=tmp_path / "c")
    selection = Selection.read(out, Store.read_from(tmp_path / "s"))
    assert selection.table["kept"].all() and selection.about["keep"] == "all"
    assert selection.about["threshold"] is None and selection.about["budget"] is None
    assert len(pd.read_csv(out / "copies.csv")) == 0
