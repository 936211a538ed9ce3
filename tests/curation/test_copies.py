import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage

from medssl.curation.alignment import alike
from medssl.curation.copies import NEAR, SAME, between, candidates, drop, near, thumbnail, within

N = 24


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    return np.stack([_film(i) for i in range(N)])


def _film(i: int) -> np.ndarray:
    """A picture of its own: blobs of many sizes, 0 to 255."""
    draw = np.random.default_rng(i)
    layers = [ndimage.gaussian_filter(draw.normal(size=(160, 150)), s) * s for s in (3, 8, 20)]
    picture = sum(layers)
    return (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.float32)


def _jpeg(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream)).astype(np.float32)


DRAW = np.random.default_rng(5)
CHANGES = {
    "jpeg": _jpeg,
    "noise": lambda x: x + DRAW.normal(0, 6, x.shape),
    "window": lambda x: np.clip((x - 40) * 1.5, 0, 255),
    "resampled": lambda x: ndimage.zoom(x, 0.6, order=1),
    "stretched": lambda x: ndimage.zoom(x, (1, 1.3), order=1),
    "rotated": lambda x: ndimage.rotate(x, 2, reshape=False, mode="nearest", order=1),
    "shifted": lambda x: ndimage.shift(x, (4, -3), mode="nearest", order=1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_and_no_other(films, change):
    originals = np.stack([thumbnail(f[None]) for f in films])
    changed = np.stack([thumbnail(CHANGES[change](f)[None].astype(np.float32)) for f in films])
    found = near(changed, originals)
    assert sorted(zip(found["a"], found["b"], strict=True)) == [(i, i) for i in range(N)]


def test_volumes_too():
    draw = np.random.default_rng(0)
    volumes = [ndimage.gaussian_filter(draw.normal(size=(40, 44, 36)), 4) for _ in range(4)]
    copy = ndimage.rotate(volumes[2], 2, reshape=False, mode="nearest", order=1)
    copy = np.clip(copy, *np.percentile(copy, [3, 97]))
    thumbs = np.stack([thumbnail(v[None].astype(np.float32)) for v in [*volumes, copy]])
    assert thumbs.shape == (5, 32, 32, 32)
    found = near(thumbs)
    assert found[["a", "b"]].to_numpy().tolist() == [[2, 4]]


def test_a_volume_moved_along_all_axes_is_found_among_many_that_are_nearly_it():
    draw = np.random.default_rng(2)
    far = sum(x**2 for x in np.mgrid[-1:1:64j, -1:1:64j, -1:1:64j])
    heads = []
    for _ in range(14):
        inside = ndimage.gaussian_filter(draw.normal(size=far.shape), 2)
        heads.append(np.where(far < 0.6, 200 + 12 * inside / inside.std(), 0))
    moved = [ndimage.shift(h, (2, -2, 2), order=1, mode="nearest") for h in heads]
    here, there = (
        torch.from_numpy(np.stack([thumbnail(v[None].astype(np.float32)) for v in side]))
        for side in (moved, heads)
    )
    found = set(map(tuple, candidates(here, there, False)))
    assert all((i, i) in found for i in range(len(heads)))


def test_likeness_is_one_for_itself_and_none_for_flat_images():
    draw = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    assert torch.allclose(alike(draw, draw), torch.ones(3), atol=1e-3)
    flat = torch.full((2, 64, 64), 9, dtype=torch.uint8)
    assert alike(flat, flat).tolist() == [0, 0]
    assert len(alike(flat[:0], flat[:0])) == 0


def items(pixels: str, splits: str, classes: str) -> pd.DataFrame:
    ids = [f"s{i}" for i in range(len(pixels))]
    return pd.DataFrame(
        {"id": ids, "pixels": list(pixels), "split": [{"r": "train", "t": "test"}[s] for s in splits],
         "patient": ids, "label_class": list(classes)}, index=ids,
    )  # fmt: skip


def test_copies_that_contradict_come_first(films):
    thumbs = np.stack([thumbnail(f[None]) for f in [*films[:4], films[0], _jpeg(films[1])]])
    found = within(items("abcdae", "rrrrrt", "xxxxxx"), thumbs)
    assert found[["scan", "copy", "kind"]].to_numpy().tolist() == [
        ["s1", "s5", NEAR], ["s0", "s4", SAME],
    ]  # fmt: skip
    assert found["differ"].tolist() == ["split, patient", "patient"]
    torn = within(items("abcdae", "rrrrrr", "xxxxyx"), thumbs)
    assert torn["differ"].tolist()[0] == "patient, label class"


def test_many_scans_of_the_same_pixels_do_not_hide_a_near_copy(films):
    thumbs = np.stack([thumbnail(f[None]) for f in [_jpeg(films[0]), *[films[0]] * 14, films[1]]])
    found = within(items("b" + "a" * 14 + "c", "r" * 16, "x" * 16), thumbs)
    near_ones = found[found["kind"] == NEAR]
    assert near_ones["scan"].tolist() == ["s0"] * 14
    assert sorted(near_ones["copy"]) == sorted(f"s{i}" for i in range(1, 15))
    assert (found["kind"] == SAME).sum() == 13


def test_twins_in_another_store(films):
    here = np.stack([thumbnail(f[None]) for f in films[:3]])
    there = np.stack([thumbnail(f[None]) for f in (_jpeg(films[2]), films[0], films[9])])
    found = between(items("abc", "rrr", "xxx"), here, items("zay", "rrr", "xxx"), there)
    assert found[["scan", "copy", "kind"]].to_numpy().tolist() == [
        ["s0", "s1", SAME],
        ["s2", "s0", NEAR],
    ]


def chosen(*rows):
    """A selection of whole scans: item, kept, and what stands for it."""
    table = pd.DataFrame(rows, columns=["item", "kept", "representative"])
    return table.assign(slice=-1, representative_slice=-1, distance=0.5)


def test_a_near_copy_goes_only_where_one_that_is_kept_stays():
    items = pd.DataFrame({"pixels": list("abcd"), "key": list("abcd")}, index=list("ABCD"))
    near_copies = pd.DataFrame({"scan": ["A"], "copy": ["B"]})
    # B stands for all three, and its earlier copy was not chosen.
    table = chosen(("A", False, "B"), ("B", True, "B"), ("C", False, "B"), ("D", True, "D"))
    drop(table, items, near_copies)
    assert table["kept"].tolist() == [False, True, False, True]
    assert table["representative"].tolist() == ["B", "B", "B", "D"]
    # Where both were chosen, the first stands for what the second stood for.
    table = chosen(("A", True, "A"), ("B", True, "B"), ("C", False, "B"), ("D", True, "D"))
    drop(table, items, near_copies)
    assert table["kept"].tolist() == [True, False, False, True]
    assert table["representative"].tolist() == ["A", "A", "A", "D"]


def test_of_copies_whose_slices_are_chosen_in_turns_the_first_keeps_all_of_them():
    items = pd.DataFrame({"pixels": ["a", "a"], "key": ["k", "k"]}, index=["A", "B"])
    table = pd.DataFrame({
        "item": ["A", "A", "B", "B"], "slice": [0, 1, 0, 1], "kept": [True, False, False, True],
        "representative": ["A", "B", "A", "B"], "representative_slice": [0, 1, 0, 1], "distance": 0.0,
    })  # fmt: skip
    drop(table, items, pd.DataFrame({"scan": [], "copy": []}))
    assert table["kept"].tolist() == [True, True, False, False]
    assert table["representative"].tolist() == ["A"] * 4
    assert table["representative_slice"].tolist() == [0, 1, 0, 1]
