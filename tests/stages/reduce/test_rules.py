"""Which slices and scans stay by every signature and rule."""

import pandas as pd
import pytest

from medssl.data.selection import COLUMNS
from medssl.data.store import Store
from medssl.stages import call
from tests.stages.reduce.made import ALL, reduced


@pytest.mark.parametrize("signature", ["ahash", "dhash", "phash", "ssim", "nmi"])
@pytest.mark.parametrize("scope", ["volume", "patient", "cohort"])
def test_a_cover_of_slices(store, tmp_path, signature, scope):
    selection = reduced(
        store, tmp_path, signature=signature, scope=scope, copies="none", splits=ALL
    )
    table = selection.table
    assert list(table.columns) == list(COLUMNS) and len(table) == 6 * 24
    kept = table[table["kept"]]
    assert 0 < len(kept) < len(table)
    assert (kept["representative"] == kept["item"]).all() and (kept["distance"] == 0).all()
    assert (kept["representative_slice"] == kept["slice"]).all()
    there = set(zip(kept["item"], kept["slice"], strict=True))
    stands = zip(table["representative"], table["representative_slice"], strict=True)
    assert set(stands) <= there
    assert (table["distance"] <= selection.about["threshold"]).all()
    patient = table["item"].map(Store.read_from(store).items["patient"])
    if scope == "volume":
        assert (table["representative"] == table["item"]).all()
        assert kept.groupby("item")["slice"].min().eq(0).all()  # the first slice stays
    if scope == "patient":
        theirs = table["representative"].map(Store.read_from(store).items["patient"])
        assert (theirs == patient).all()
    assert table["blank"].sum() >= 5 * 3 and table.loc[table["blank"], "slice"].max() < 24


def test_a_threshold_of_0_drops_equal_hashes_and_of_64_all_but_one(store, tmp_path):
    everything = reduced(store, tmp_path / "64", threshold=64, copies="none")
    assert everything.table.groupby("item")["kept"].sum().eq(1).all()
    nothing = reduced(store, tmp_path / "0", threshold=0, copies="none")
    assert (nothing.table["distance"] == 0).all()
    air = nothing.table[nothing.table["slice"] < 3]
    assert nothing.table["kept"].sum() > everything.table["kept"].sum()
    assert air[air["item"] == "c0"]["kept"].tolist() == [True, False, False]


def test_every_nth_slice(store, tmp_path):
    table = reduced(store, tmp_path, signature="every", threshold=3, copies="none").table
    assert table[table["kept"] & (table["item"] == "c0")]["slice"].tolist() == [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize("keep", ["medoid", "k_centre", "facility_location"])
def test_the_other_rules(store, tmp_path, keep):
    budget = {} if keep == "medoid" else {"budget": 0.25}
    selection = reduced(store, tmp_path, signature="ssim", keep=keep, copies="none", **budget)
    kept = selection.table.groupby("item")["kept"].sum()
    assert (kept == 6).all() if budget else (kept > 1).all()
    assert (selection.about["budget"], selection.about["threshold"]) == (
        (0.25, None) if budget else (None, 0.1)
    )


def test_the_same_whatever_reads_and_compares(store, tmp_path):
    one = reduced(store, tmp_path / "a", scope="cohort", splits=ALL)
    other = reduced(store, tmp_path / "b", scope="cohort", splits=ALL, workers=2, threads=1)
    pd.testing.assert_frame_equal(one.table, other.table)
    again = reduced(store, tmp_path / "a", scope="cohort", splits=ALL, threshold=9)
    assert again.table["kept"].sum() <= one.table["kept"].sum()  # from signatures that were there


def test_what_was_read_is_read_again_where_it_is_harmed_or_of_other_weights(store, tmp_path):
    net = {"name": "timm", "model": "resnet10t"}
    given = {
        "signature": {"name": "embedding", "size": [32, 32]},
        "backbone": net,
        "threshold": 0.01,
    }
    first = reduced(store, tmp_path / "a", **given).table
    array = tmp_path / "a/read/signatures.npy"
    assert array.parent.stat().st_mode & 0o077 == 0
    whole, when = array.read_bytes(), array.stat().st_mtime_ns
    assert reduced(store, tmp_path / "a", **given).table.equals(first)
    assert array.stat().st_mtime_ns == when
    for harmed in (whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):
        array.write_bytes(harmed)
        assert reduced(store, tmp_path / "a", **given).table.equals(first)
        assert array.read_bytes() == whole
    reduced(store, tmp_path / "a", **given, seed=1)
    assert array.read_bytes() != whole


def test_whole_scans_and_embeddings(store, tmp_path):
    selection = reduced(
        store, tmp_path / "s", unit="scans", signature="phash", threshold=0, splits=ALL
    )
    assert len(selection.table) == 6 and selection.slices is None
    net = {"name": "res_unet", "channels": [4, 8]}
    signature = {"name": "embedding", "size": [24, 24, 24]}
    given = {
        "unit": "scans",
        "signature": signature,
        "backbone": net,
        "splits": ALL,
        "copies": "none",
    }
    some = reduced(store, tmp_path / "e", keep="k_centre", budget=3, **given)
    assert some.table["kept"].sum() == 3
    near = reduced(store, tmp_path / "c", keep="coreset", target=store, budget=2, **given)
    assert near.table["kept"].sum() == 2 and (near.table["representative"] == "").sum() == 4
    assert near.about["scope"] == "cohort"
    page = (tmp_path / "c/reduce.html").read_text()
    assert "farthest from it" in page and "may be shown" not in page
    run = call("pretrain", "simclr_small", store=store, out=tmp_path / "run",
               method={"size": [16, 16], "read": [24, 24]}, backbone={**net, "ndim": 2},
               fit={"steps": 2, "batch_size": 4})  # fmt: skip
    slices = reduced(store, tmp_path / "m", signature="embedding", model=run, threshold=0.001)
    assert 0 < slices.table["kept"].sum() < len(slices.table)
    assert slices.about["signature"]["name"] == "embedding"
