import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from medssl.reports.outlines import coloured
from medssl.reports.slices import Slices
from medssl.reports.style import COLOURS


def opened(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def of(shape, fill=0.2) -> Slices:
    levels = np.random.default_rng(0).normal(128, 25, shape).clip(0, 255).astype(np.uint8)
    mask = np.zeros(shape, int)
    mask[tuple(slice(n // 4, n // 2) for n in shape)] = 7
    return Slices(levels, coloured(mask, [7]), fill)


def test_slices_are_cut_as_a_radiologist_looks_and_kept_as_they_are():
    slices = of((40, 30, 20))
    assert slices.axes == (2, 1, 0) and [slices.count(a) for a in slices.axes] == [20, 30, 40]
    axial = np.asarray(opened(slices.image(2, 3, "png")))
    assert np.array_equal(axial, slices.levels[::-1, ::-1, 3].T)
    sagittal = np.asarray(opened(slices.image(0, 5, "png")))
    assert np.array_equal(sagittal, slices.levels[5, ::-1, ::-1].T)
    film = of((40, 30))
    assert film.axes == (None,) and film.count(None) == 1
    assert np.array_equal(np.asarray(opened(film.image(None, 0, "png"))), film.levels)


def test_masks_are_tinted_within_their_outline():
    over = np.asarray(opened(of((64, 64), fill=0.4).mask(None, 0)).convert("RGBA"))
    alpha = over[..., 3]
    assert over.shape == (256, 256, 4)  # enlarged, so that the outline is thin
    assert set(np.unique(alpha)) == {0, 102, 255}
    inside = alpha > 0
    assert inside[64:128, 64:128].all() and inside.sum() == 64**2
    assert (alpha == 255).sum() == 4 * 63  # one pixel along the border
    assert (over[inside][:, :3] == ImageColor.getrgb(COLOURS[0])).all()


def test_outlines_close_at_the_edge_of_the_picture():
    whole = Slices(np.zeros((256, 256), np.uint8), np.ones((256, 256), np.uint8), 0)
    alpha = np.asarray(opened(whole.mask(None, 0)).convert("RGBA"))[..., 3]
    assert alpha[0].all() and alpha[:, -1].all() and not alpha[1:-1, 1:-1].any()


def test_without_a_mask_there_is_nothing_to_lay_over():
    bare = Slices(np.zeros((8, 8), np.uint8), None, 0.2)
    assert bare.mask(None, 0) == ""
    assert (
        np.asarray(opened(bare.still(None, 0, np.full(256, 9, np.uint8)))).tolist() == [[9] * 8] * 8
    )


def test_a_still_holds_the_window_and_the_mask():
    slices = of((64, 64), fill=0)
    window = np.where(np.arange(256) < 128, 0, 255).astype(np.uint8)
    still = np.asarray(opened(slices.still(None, 0, window)))
    edge = np.asarray(opened(slices.mask(None, 0)).convert("RGBA"))[..., 3] == 255
    assert (still[edge] == ImageColor.getrgb(COLOURS[0])).all()
    assert (np.ptp(still[~edge].astype(int), axis=1) == 0).all()


def test_colours_come_again_and_other_values_are_not_shown():
    mask = np.arange(12).reshape(3, 4)
    values = list(range(1, 11))
    assert coloured(mask, values).ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 0]


@pytest.mark.parametrize("shape", [(64, 48, 40), (200, 160)])
def test_what_there_is_no_room_for_becomes_jpeg_and_then_is_left_out(shape):
    slices = of(shape)
    at = {axis: slices.count(axis) // 2 for axis in slices.axes}

    def size(kind, every=1):
        return sum(
            len(slices.image(a, i, kind) + slices.mask(a, i))
            for a in slices.axes for i in range(0, slices.count(a), every)
        )  # fmt: skip

    assert slices.fitting(at, 10**9) == (1, "png")
    jpeg, png = size("jpeg"), size("png")
    assert jpeg < 0.9 * png and slices.fitting(at, (jpeg + png) // 2) == (1, "jpeg")
    every, kind = slices.fitting(at, jpeg // 4)
    assert kind == "jpeg" and every >= 4
    assert len(shape) == 2 or size("jpeg", every) < jpeg // 4 * 1.3
