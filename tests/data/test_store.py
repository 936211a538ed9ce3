import json
import os

import numpy as np
import pandas as pd
import pytest

from medssl.data.preprocess import prepare
from medssl.data.recipe import Recipe
from medssl.data.store import Store
from medssl.data.volume import Volume
from medssl.errors import UserError


def make(folder, shapes, recipe=None, masks=True, extra=None) -> Store:
    """A store of random volumes whose mask marks the brighter half."""
    recipe = recipe or Recipe()
    store = Store(folder, recipe, folder / "manifest", pd.DataFrame())
    rows = []
    for i, shape in enumerate(shapes):
        rng = np.random.default_rng(i)
        array = rng.normal(size=(1, *shape)).astype(np.float32)
        volume = Volume(array, np.eye(4), "MR")
        mask = volume.with_array((array > 0).astype(np.uint8)) if masks else None
        prepared = prepare(volume, recipe, mask)
        store.entries.add(f"key{i}", prepared, recipe, f"{i:032x}", "")
        about = {"id": f"case{i}", "patient": f"p{i // 2}", "split": "train", "modality": "MR"}
        row = pd.Series(
            {**about, "label_mask": "m" if masks else "", **(extra[i] if extra else {})}
        )
        rows.append(store.describe(row, f"key{i}", f"source{i}"))
    store.items = pd.DataFrame(rows).set_index("id", drop=False).rename_axis(None)
    store.write_about()
    return Store.read_from(folder)


def test_what_is_read_is_what_was_prepared(tmp_path):
    store = make(tmp_path / "s", [(20, 24, 28)])
    array = np.random.default_rng(0).normal(size=(1, 20, 24, 28)).astype(np.float32)
    whole = prepare(Volume(array, np.eye(4)), store.recipe).image.array
    assert np.abs(store.read("case0") - whole).max() < 0.51 * 10 / store.recipe.levels
    assert np.array_equal(store.read_mask("case0"), (array > 0).astype(np.uint8))


def test_a_box_equals_the_same_box_of_the_whole_and_is_padded_outside(tmp_path):
    store = make(tmp_path / "s", [(140, 24, 28)])
    whole = store.read("case0")
    assert np.array_equal(
        store.read("case0", (100, 3, 5), (135, 9, 28)), whole[:, 100:135, 3:9, 5:28]
    )
    out = store.read("case0", (-3, 20, 0), (5, 30, 28))
    assert out.shape == (1, 8, 10, 28)
    assert np.array_equal(out[:, 3:, :4], whole[:, :5, 20:])
    assert np.allclose(out[:, :3], whole.min()) and np.allclose(out[:, :, 4:], whole.min())
    assert store.read_mask("case0", (-3, 20, 0), (5, 30, 28))[:, :3].max() == 0


def test_foreground_points_lie_in_their_class(tmp_path):
    store = make(tmp_path / "s", [(20, 24, 28)])
    points = store.foreground("case0")
    mask = store.read_mask("case0")[0]
    assert 0 < len(points) <= 1000
    assert (mask[tuple(points[:, 1:].T)] == points[:, 0]).all()


def test_missing_mask_missing_store_and_other_format_are_told(tmp_path):
    store = make(tmp_path / "s", [(8, 8, 8)], masks=False)
    with pytest.raises(UserError, match="case0: has no label mask"):
        store.read_mask("case0")
    with pytest.raises(UserError, match="medssl prepare"):
        Store.read_from(tmp_path / "nothing")
    about = json.loads((tmp_path / "s/store.json").read_text())
    (tmp_path / "s/store.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        Store.read_from(tmp_path / "s")


def test_a_truncated_entry_is_not_there_and_is_named_when_read(tmp_path):
    store = make(tmp_path / "s", [(40, 40, 40)])
    file = tmp_path / "s/arrays/key0.image.b2nd"
    file.write_bytes(file.read_bytes()[:-1000])
    assert not store.entries.has("key0", mask=True)
    with pytest.raises(UserError, match="key0.image.b2nd cannot be read"):
        store.read("case0")


def test_whole_hounsfield_units_come_back_exactly(tmp_path):
    for window in ([-175, 250], [-1000, 1000], [-1024, 3071]):
        recipe = Recipe(intensity="hu", window=window)
        store = Store(tmp_path / str(window), recipe, tmp_path, pd.DataFrame())
        hu = np.linspace(*window, 1280).round().reshape(1, 4, 16, 20)
        prepared = prepare(Volume(hu.astype(np.int16), np.eye(4), "CT"), recipe)
        store.entries.add("k", prepared, recipe, "0" * 32, "")
        row = pd.Series({"id": "a", "label_mask": ""})
        store.items = pd.DataFrame([store.describe(row, "k", "")], index=["a"])
        found = (store.read("a") + 1) / 2 * (window[1] - window[0]) + window[0]
        assert np.abs(found - hu).max() < 1e-2  # float32; a level is a quarter of one HU


def test_films_and_channels_are_kept_too(tmp_path):
    store = make(tmp_path / "s", [(600, 70)], masks=False)
    whole = store.read("case0")
    assert whole.shape == (1, 600, 70)
    assert np.array_equal(store.read("case0", (500, 3), (590, 70)), whole[:, 500:590, 3:70])


def test_many_items_are_read_with_few_files_open(tmp_path):
    import resource

    store = make(tmp_path / "s", [(8, 8, 8)])
    row = store.items.iloc[0]
    for i in range(80):
        for file in sorted((tmp_path / "s/arrays").glob("key0.*")):
            file.with_name(file.name.replace("key0", f"other{i}")).write_bytes(file.read_bytes())
    ids = [f"other{i}" for i in range(80)]
    store.items = pd.DataFrame([{**row, "id": i, "key": i} for i in ids], index=ids)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 8, hard))
    try:
        assert all(store.read(i).shape == (1, 8, 8, 8) for i in ids)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "edit", [{"key": "../../other/arrays/k"}, {"id": "a/b"}, {"shape": "[4]"}, {"grid": "x"}, None]
)
def test_a_table_of_items_that_was_tampered_with_is_refused(tmp_path, edit):
    make(tmp_path, [(4, 5, 6), (4, 5, 6)])
    Store.read_from(tmp_path)
    items = pd.read_parquet(tmp_path / "items.parquet")
    for column, value in (edit or {}).items():
        items.loc[1, column] = value
    (items if edit else items.iloc[:0]).to_parquet(tmp_path / "items.parquet")
    with pytest.raises(UserError, match="STORE .*items.parquet is damaged"):
        Store.read_from(tmp_path)
