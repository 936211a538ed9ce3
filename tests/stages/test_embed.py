import numpy as np
import pandas as pd
import pytest

from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call

FEATURES = 4 + 8  # channels of both levels of the small network


@pytest.fixture(scope="module")
def embedded(segmented):
    store = segmented / "store"
    return call("embed", run=segmented / "voco", store=store, places=5, queries=2, k=2)


def test_there_is_a_row_a_scan_and_what_a_classifier_needs(embedded, segmented):
    table = pd.read_parquet(embedded / "embeddings.parquet")
    items = Store.read_from(segmented / "store").items
    assert table["id"].tolist() == list(items.index) and embedded == segmented / "voco/embeddings"
    assert table["patient"].tolist() == items["patient"].tolist()
    assert {"split", "modality", "label_odd"} <= set(table)
    features = np.stack(table["features"])
    assert features.shape == (10, FEATURES) and np.isfinite(features).all()
    assert len(np.unique(features.round(6), axis=0)) == 10


def test_places_lie_in_their_scans(embedded, segmented):
    dense = pd.read_parquet(embedded / "dense.parquet")
    store = Store.read_from(segmented / "store")
    assert dense.groupby("id").size().eq(5).all() and dense["id"].nunique() == 10
    for item, rows in dense.groupby("id"):
        at = np.stack(rows["at"])
        assert at.shape == (5, 3) and len(np.unique(at, axis=0)) == 5
        assert (at > -8).all() and (at < np.array(store.shape(item)) + 8).all()
    assert np.stack(dense["features"]).shape == (50, 8)


def test_pictures_are_drawn(embedded):
    for name in ("pca.png", "retrieval.png"):
        assert (embedded / name).read_bytes().startswith(b"\x89PNG")


def test_npz_loads_without_a_pickle_and_holds_the_same(embedded, segmented, tmp_path):
    out = call(
        "embed", run=segmented / "voco", store=segmented / "store", format="npz", out=tmp_path / "e",
        splits=["val", "test"], places=3, queries=0,
    )  # fmt: skip
    with np.load(out / "embeddings.npz", allow_pickle=False) as found:
        table = pd.read_parquet(embedded / "embeddings.parquet")
        table = table[table["split"].isin(["val", "test"])]
        assert found["ids"].tolist() == table["id"].tolist()
        # Which scans are asked for does not change what is found of one.
        assert np.allclose(found["pooled"], np.stack(table["features"]), atol=1e-5)
        assert found["dense"].shape == (12, 8) and found["dense_at"].shape == (12, 3)
        assert np.bincount(found["dense_of"]).tolist() == [3, 3, 3, 3]
    assert not (out / "retrieval.png").exists()


def test_a_fine_tuned_run_has_features_too(segmented, tmp_path):
    out = call(
        "embed", run=segmented / "tuned", store=segmented / "store", out=tmp_path / "e", queries=0,
        maps=[], splits=["test"], colour="odd",
    )  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == ["embeddings.parquet"]


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"splits": ["nowhere"]}, "no scan has one of these splits"),
        ({"colour": "odour"}, "is no column of the store.*odd"),
        ({"size": [8, 8, 8, 8]}, "has 4 values, the scans have 3 axes"),
        ({"maps": ["umap"]}, "umap is not installed"),
    ],
)
def test_what_cannot_be_done_is_said(segmented, tmp_path, keys, words, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=words):
        call("embed", run=segmented / "voco", store=segmented / "store", out=tmp_path / "e", **keys)
    assert not (tmp_path / "e").exists()
