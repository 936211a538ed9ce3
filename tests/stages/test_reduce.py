"""Selections of real files: a cohort of volumes with smooth neighbours, copies in disguise, and films."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from medssl.config import Part
from medssl.curation.copies import NEAR, SAME
from medssl.curation.signatures import SIGNATURES
from medssl.data.selection import COLUMNS, Selection
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.reduce import Config

SHAPE = (40, 36, 24)
ALL = ["train", "test", ""]


def scan(i: int) -> np.ndarray:
    draw = np.random.default_rng(i)
    image = ndimage.gaussian_filter(draw.normal(size=SHAPE), (4, 4, 3))
    image = 900 * (image - image.min()) / np.ptp(image)
    image[..., :3] = 0  # air above
    return image.astype(np.int16)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six volumes of four patients, of which c3 is c0 turned and c5 is c1 re-windowed and rotated."""
    root = tmp_path_factory.mktemp("reduce")
    (root / "images").mkdir()
    rows = []
    for i in range(6):
        image, affine = scan(i), np.diag([-1.0, -1, 2, 1])
        if i == 3:
            image, affine = (
                scan(0)[::-1].transpose(1, 0, 2),
                np.eye(4),
            )  # and a header that is wrong
        if i == 5:
            turned = ndimage.rotate(scan(1), 2, reshape=False, order=1, mode="nearest")
            image = np.clip(turned, 150, 750).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), root / f"images/c{i}.nii.gz")
        split = "test" if i == 5 else "train"
        patient = "PX" if i == 5 else f"P{i // 2}"
        rows.append({"id": f"c{i}", "patient_id": patient, "split": split, "y": i == 4})
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    call("index", scans=root / "images", labels=[root / "table.csv"], splits=root / "table.csv",
         modality="MR", out=root / "m")  # fmt: skip
    call("prepare", manifest=root / "m", out=root / "store")
    return root / "store"


def reduced(store, out, **given) -> Selection:
    return Selection.read(call("reduce", store=store, out=out, **given), Store.read_from(store))


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


def test_help_tells_the_thresholds_of_all_signatures():
    told = Config.model_fields["threshold"].description
    for name in SIGNATURES:
        target = Part(name=name).target(SIGNATURES, "signature")
        words = "of hashes 6 bits" if name.endswith("hash") else f"{name} {target.threshold:g}"
        assert words in told and (target.threshold == 6 or "hash" not in name), name


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


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    (root / "a").mkdir()
    (root / "b").mkdir()
    for i in range(8):
        draw = np.random.default_rng(100 + i)
        image = ndimage.gaussian_filter(draw.normal(size=(120, 100)), 6)
        image = (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)
        Image.fromarray(image).save(root / f"a/f{i}.png")
        if i < 2:
            Image.fromarray(image).convert("RGB").save(root / f"a/g{i}.tif")
        if i in (3, 4):
            Image.fromarray(image).resize((80, 96)).save(root / f"b/h{i}.jpg", quality=80)
    draw = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(90, 90)), 5)
    Image.fromarray((255 * (draw - draw.min()) / np.ptp(draw)).astype(np.uint8)).save(
        root / "b/other.png"
    )
    for name in "ab":
        call("index", scans=root / name, modality="DX", out=root / f"m{name}")
        call("prepare", manifest=root / f"m{name}", out=root / f"s{name}")
    return root


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


def test_stores_of_other_axes_are_refused_or_compared_by_slices(store, films, tmp_path):
    with pytest.raises(UserError, match="against=.*2 axes"):
        reduced(store, tmp_path, against=films / "sa")
    few = {
        "keep": "coreset",
        "signature": {"name": "embedding", "size": [64, 64]},
        "budget": 5,
        "copies": "none",
    }
    assert reduced(store, tmp_path, target=films / "sa", **few).table["kept"].sum() == 5
    assert (
        reduced(films / "sb", tmp_path / "b", target=store, **few | {"budget": 2}).about["kept"]
        == 2
    )
    network = {"name": "res_unet", "channels": [4, 8], "blocks": 1}
    few |= {
        "unit": "scans",
        "backbone": network,
        "signature": {"name": "embedding", "size": [16] * 3},
    }
    with pytest.raises(UserError, match="target=.*2 axes"):
        reduced(store, tmp_path / "c", target=films / "sa", **few)


BAD = {
    "volumes of whole scans": ({"unit": "scans", "scope": "volume"}, "scope=volume"),
    "every in a cohort": ({"signature": "every", "scope": "cohort"}, "signature=every"),
    "a coreset of hashes": ({"keep": "coreset"}, "keep=coreset"),
    "a model for hashes": ({"model": "x"}, "model"),
    "a threshold for a budget": ({"keep": "k_centre", "threshold": 3}, "threshold"),
    "a budget for a threshold": ({"budget": 0.3}, "budget: keep=first goes by a threshold"),
    "a target for a threshold": ({"target": "x"}, "target: keep=first has none"),
    "a network for hashes": ({"backbone": {"name": "res_unet"}}, "backbone: is only asked by"),
    "two networks": (
        {"signature": "embedding", "model": ".", "backbone": {"name": "res_unet"}},
        r"backbone: \. brings its own",
    ),
    "more bits than there are": (
        {"threshold": 65},
        "threshold=65: no two are further apart than 64",
    ),
    "a threshold for nothing": ({"keep": "all", "threshold": 3}, "keep=all goes by copies alone"),
    "a budget for nothing": ({"keep": "all", "budget": 3}, "keep=all goes by copies alone"),
    "parts of a bit": ({"threshold": 0.9}, "bits are counted.*whole number"),
    "a coreset of volumes": (
        {"keep": "coreset", "signature": "embedding", "target": "x", "scope": "volume"},
        "scope=volume: a coreset is chosen from all",
    ),
    "an image of no size": ({"signature": {"name": "embedding", "size": [0, 8]}}, "signature.size"),
    "half a scan": ({"keep": "k_centre", "budget": 2.5}, "budget"),
    "no such signature": ({"signature": "dhsah"}, "did you mean"),
    "no such option": ({"signature": {"name": "ssim", "sied": 3}}, "sied"),
    "no such split": ({"splits": ["nowhere"]}, "no scan has one of these splits"),
    "a network of volumes": (
        {"signature": {"name": "embedding", "size": [8, 8, 8]}, "backbone": {"name": "res_unet"}},
        "slices have 2 axes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_contradicts_itself_is_refused_before_any_work(store, tmp_path, case):
    given, words = BAD[case]
    with pytest.raises(UserError, match=words):
        call("reduce", store=store, out=tmp_path / "out", **given)
    assert not (tmp_path / "out/selection.parquet").exists()


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
