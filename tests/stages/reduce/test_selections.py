"""Selections as pretraining takes them."""

import json

import pandas as pd
import pytest

from medssl.data.selection import Selection
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from tests.stages.reduce.made import reduced


def test_pretraining_takes_what_was_kept(store, tmp_path):
    reduced(store, tmp_path / "sel", copies="same")
    given = {
        "store": store, "selection": tmp_path / "sel", "fit": {"steps": 2, "batch_size": 4},
        "method": {"size": [16, 16], "read": [24, 24]},
        "backbone": {"name": "res_unet", "channels": [4, 8], "ndim": 2},
    }  # fmt: skip
    run = call("pretrain", "simclr_small", out=tmp_path / "run", **given)
    card = json.loads((run / "model/card.json").read_text())
    kept = Selection.read(tmp_path / "sel", Store.read_from(store))
    assert (
        card["selection"] == kept.summary and card["selection"]["kept"] == kept.table["kept"].sum()
    )
    assert len(card["patients"]["pretrain"]) == 3
    reduced(store, tmp_path / "sel", threshold=2)
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        call("pretrain", "simclr_small", out=tmp_path / "run", **given)
    volumes = {**given, "method": {"size": [16, 16, 16], "read": [16, 16, 16]},
               "backbone": {"name": "res_unet", "channels": [4, 8]}}  # fmt: skip
    with pytest.raises(UserError, match="of slices, and this method reads volumes"):
        call("pretrain", "simclr_small", out=tmp_path / "other", **volumes)
    reduced(store, tmp_path / "scans", unit="scans", signature="phash", threshold=0)
    call(
        "pretrain",
        "simclr_small",
        out=tmp_path / "whole",
        **{**volumes, "selection": tmp_path / "scans"},
    )


def test_a_selection_of_another_store_or_none_at_all(store, films, tmp_path):
    reduced(store, tmp_path, copies="none")
    with pytest.raises(UserError, match="other scans"):
        Selection.read(tmp_path, Store.read_from(films / "sa"))
    (tmp_path / "selection.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="no readable selection"):
        Selection.read(tmp_path, Store.read_from(store))


def test_a_table_edited_by_hand_is_taken_where_the_store_has_what_it_names(store, tmp_path):
    before = reduced(store, tmp_path, copies="none").table
    edits = {
        "kept is not": before.assign(kept=before["kept"].map(str)),
        "no scan c9": before.assign(item="c9"),
        "twice": pd.concat([before, before]),
        "c0 has no slice 24": before.assign(slice=before["slice"] + 1),
    }
    for words, table in edits.items():
        table.to_parquet(tmp_path / "selection.parquet", index=False)
        with pytest.raises(UserError, match=f"SELECTION .*selection.parquet: .*{words}"):
            Selection.read(tmp_path, Store.read_from(store))
    before.assign(kept=True).to_parquet(tmp_path / "selection.parquet", index=False)
    everything = Selection.read(tmp_path, Store.read_from(store))
    assert everything.table["kept"].all()


def test_scans_that_were_never_chosen_from_are_told(store, tmp_path):
    selection, items = reduced(store, tmp_path, copies="none"), Store.read_from(store).items
    kept = int(selection.table["kept"].sum())
    assert selection.words(items[items["split"] == "train"]) == (
        f"the selection keeps {kept} of 120 slices"
    )
    assert "; 1 of 6 scans were not among what it chose from" in selection.words(items)
