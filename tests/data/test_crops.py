import numpy as np
import pytest

from medssl.data.crops import UNKNOWN, Crops, CropSpec, batches, partition
from medssl.errors import UserError
from tests.data.test_store import make


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make(tmp_path_factory.mktemp("store"), [(20, 24, 28), (16, 18, 40), (12, 10, 9)])


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_a_sample_depends_on_seed_and_number_only(store):
    crops = Crops(store, list(store.items.index), CropSpec((8, 8, 8), mask=True), seed=3)
    again = Crops(store, list(store.items.index), CropSpec((8, 8, 8), mask=True), seed=3)
    again[5], again[2]
    assert all(same(crops[g], again[g]) for g in (7, 0, 3))
    assert not same(
        crops[0], Crops(store, crops_items(store), CropSpec((8, 8, 8), mask=True), seed=4)[0]
    )


def crops_items(store):
    return list(store.items.index)


def test_every_epoch_visits_every_item_once(store):
    crops = Crops(store, crops_items(store), CropSpec((8, 8, 8)), seed=0)
    for epoch in range(3):
        assert sorted(crops.number(g) for g in range(3 * epoch, 3 * epoch + 3)) == [0, 1, 2]


def test_boxes_are_inside_reach_the_last_place_and_pad_small_items(store):
    crops = Crops(store, ["case0"], CropSpec((16, 16, 16)), seed=0)
    lows = np.array([crops[g]["low"] for g in range(200)])
    assert lows.min(0).tolist() == [0, 0, 0] and lows.max(0).tolist() == [4, 8, 12]
    small = Crops(store, ["case2"], CropSpec((16, 16, 16)), seed=0)[0]
    assert small["image"].shape == (1, 16, 16, 16) and small["low"].tolist() == [-2, -3, -3]


def test_mask_and_image_belong_together(store):
    crops = Crops(store, crops_items(store), CropSpec((8, 8, 8), mask=True), seed=0)
    for g in range(6):
        s = crops[g]
        bright = s["image"][0] > store.read(crops.items[s["item"]][0])[0].mean()
        assert (bright == s["mask"]).mean() > 0.95


def test_boxes_are_placed_around_the_labels_asked_for(tmp_path):
    store = make(tmp_path / "s", [(40, 40, 40)])
    points = np.array([[1, 5, 5, 5], [7, 34, 34, 34]], np.int32)
    store.foreground = lambda item: points
    for label, centre in ((1, 5), (7, 34)):
        spec = CropSpec((8, 8, 8), foreground=1.0, labels=(label,))
        boxes = [Crops(store, ["case0"], spec, seed=0)[i] for i in range(20)]
        assert all((b["low"] <= centre).all() and (centre < b["high"]).all() for b in boxes)


def test_foreground_share_of_boxes_holds_a_labelled_voxel(tmp_path):
    from medssl.data.preprocess import prepare
    from medssl.data.recipe import Recipe
    from medssl.data.volume import Volume

    store = make(tmp_path / "s", [(60, 60, 60)])
    mask = np.zeros((1, 60, 60, 60), np.uint8)
    mask[0, 50:52, 5:7, 30:32] = 1
    image = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    prepared = prepare(Volume(image, np.eye(4)), Recipe(), Volume(mask, np.eye(4)))
    store.entries.add("key0", prepared, Recipe(), "0" * 32, "")
    always = Crops(store, ["case0"], CropSpec((12, 12, 12), foreground=1.0, mask=True), seed=0)
    assert all(always[g]["mask"].any() for g in range(30))
    never = Crops(store, ["case0"], CropSpec((12, 12, 12), foreground=0.0, mask=True), seed=0)
    assert np.mean([never[g]["mask"].any() for g in range(30)]) < 0.4


def test_a_slice_with_a_labelled_voxel_takes_its_turn_from_one_without(tmp_path):
    store = make(tmp_path / "s", [(60, 60, 60)])
    points = np.array([[1, 50, 6, 31], [1, 51, 6, 31]])
    store.foreground = lambda item: points
    for share, least, most in ((1.0, 1.0, 1.0), (0.5, 0.3, 0.7), (0.0, 0.0, 0.1)):
        crops = Crops(store, ["case0"], CropSpec((12, 12), foreground=share), seed=0)
        found = [crops[g]["low"] for g in range(60)]
        here = np.mean([low[2] == 31 and 39 <= low[0] <= 51 for low in found])
        assert least <= here <= most


def test_two_sizes_over_volumes_mean_axial_slices(store):
    crops = Crops(store, ["case0"], CropSpec((8, 8), mask=True), seed=0)
    assert len(crops) == 28
    sample = crops[0]
    z = crops.items[sample["item"]][1]
    x, y = sample["low"][:2].astype(int)
    assert np.array_equal(sample["image"], store.read("case0")[:, x : x + 8, y : y + 8, z])
    assert sample["mask"].shape == (8, 8)


def test_whole_items_are_resized(store):
    crops = Crops(store, crops_items(store), CropSpec((10, 12, 14), whole=True), seed=0)
    assert {crops[g]["image"].shape for g in range(3)} == {(1, 10, 12, 14)}


def test_batches_are_the_same_with_any_number_of_workers_and_from_any_start(store):
    crops = Crops(store, crops_items(store), CropSpec((8, 8, 8)), seed=0)
    alone = list(batches(crops, 2, 0, 4))
    helped = list(batches(crops, 2, 0, 4, workers=2))
    later = list(batches(crops, 2, 2, 4))
    assert len(alone) == 4 and len(later) == 2
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))
    assert all(same(a, b) for a, b in zip(alone[2:], later, strict=True))


def test_no_items_and_wrong_axes_are_told(store):
    with pytest.raises(UserError, match="no scan was selected"):
        Crops(store, [], CropSpec((8, 8, 8)), seed=0)
    with pytest.raises(UserError, match="crops: have 4 axes"):
        Crops(store, ["case0"], CropSpec((8, 8, 8, 8)), seed=0)


@pytest.mark.parametrize("n, parts", [(9, 4), (40, 4), (28, 3), (5, 5)])
def test_partitions_cover_every_slice_and_none_is_empty(n, parts):
    edges = partition(n, parts)
    belongs = [min(s * parts // n, parts - 1) for s in range(n)]
    ours = [next(p for p in range(parts) if edges[p] <= s < edges[p + 1]) for s in range(n)]
    assert ours == belongs and set(ours) == set(range(parts))


@pytest.mark.parametrize("size", [(8, 8, 8), (8, 8)])
def test_one_box_from_each_partition_of_one_scan(store, size):
    crops = Crops(store, crops_items(store), CropSpec(size, parts=4, mask=True), seed=0)
    assert len(crops) == 3  # scans, also where the boxes are slices
    for g in range(12):
        sample = crops[g]
        assert sample["image"].shape == (4, 1, *size) and sample["mask"].shape == (4, *size)
        assert sample["part"].tolist() == [0, 1, 2, 3] and (np.diff(sample["place"]) >= 0).all()
        n = store.shape(crops.items[sample["item"]][0])[2]
        if len(size) == 2:
            slices = (sample["place"] * n).astype(int)
            assert (np.minimum(slices * 4 // n, 3) == sample["part"]).all()
            item = crops.items[sample["item"]][0]
            low = [int(v) for v in sample["low"][1]]
            expected = store.read(item, low, [low[0] + 8, low[1] + 8, low[2] + 1])[..., 0]
            assert np.array_equal(sample["image"][1], expected)
        else:
            assert (sample["low"][:, 2] >= min(0, n - 8)).all()
            assert (sample["high"][:, 2] <= max(n, 8)).all()


def test_partitions_of_films_and_of_thin_scans_are_refused(store, tmp_path):
    with pytest.raises(UserError, match="fewer slices than 20 partitions, as case2"):
        Crops(store, crops_items(store), CropSpec((8, 8, 8), parts=20), seed=0)
    films = make(tmp_path, [(20, 24)])
    with pytest.raises(UserError, match="a film has none"):
        Crops(films, crops_items(films), CropSpec((8, 8), parts=2), seed=0)


def test_a_scan_without_a_mask_has_unknown_labels(store):
    crops = Crops(store, ["case0"], CropSpec((8, 8, 8), mask=True), seed=0)
    assert crops[0]["mask"].min() >= 0
    crops.store.items.loc["case0", "has_mask"] = False
    try:
        assert (crops[0]["mask"] == UNKNOWN).all() and crops[0]["mask"].shape == (8, 8, 8)
    finally:
        crops.store.items.loc["case0", "has_mask"] = True


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_say_how_long_they_took_if_asked_and_are_the_same(store, workers, monkeypatch):
    crops = Crops(store, crops_items(store), CropSpec((8, 8, 8)), seed=0)
    plain, timed = (list(batches(crops, 2, 1, 3, workers, timed=asked)) for asked in (False, True))
    for a, b in zip(plain, timed, strict=True):
        spent = b.pop("spent")
        assert spent.shape == (2, 2) and (spent > 0).all() and same(a, b)
