import imagehash
import numpy as np
import pytest
import torch
from PIL import Image

from medssl.curation import resampling
from medssl.curation.hashes import HASHES, distances
from medssl.curation.resampling import resized

THEIRS = {
    "ahash": imagehash.average_hash,
    "dhash": imagehash.dhash,
    "phash": imagehash.phash,
}
SIZES = [
    (1, 9),
    (5, 7),
    (9, 2),
    (8, 9),
    (8, 8),
    (33, 40),
    (300, 5),
    (16, 12),
    (40, 20),
    (150, 80),
    (64, 300),
    (160, 160),
    (300, 257),
]


def images(size: tuple[int, int]) -> np.ndarray:
    """Noise, smooth shapes, two values, steps, one value, and values at both ends."""
    draw = np.random.default_rng(sum(size))
    noise = draw.integers(0, 256, (6, *size))
    rows, columns = np.mgrid[: size[0], : size[1]]
    smooth = [
        127 + 120 * np.sin(rows / a) * np.cos(columns / b) for a, b in ((3, 5), (9, 4), (20, 31))
    ]
    extremes = draw.integers(0, 2, (6, *size)) * 255
    flat = [np.full(size, value) for value in (0, 1, 127, 255)]
    return np.concatenate([noise, smooth, extremes, flat]).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", HASHES)
def test_the_bits_are_those_of_imagehash(name, size):
    pixels = images(size)
    ours = HASHES[name](torch.from_numpy(pixels))
    theirs = [int(str(THEIRS[name](Image.fromarray(p))), 16) for p in pixels]
    assert ours.dtype == np.uint64
    assert ours.tolist() == theirs


@pytest.fixture(params=["floats", "integers"])
def arithmetic(request, monkeypatch):
    """Each way of summing; the second is that of other processors."""
    if request.param == "floats" and not resampling.FLOATS:
        pytest.skip("oneDNN does not take bytes on this processor")
    monkeypatch.setattr(resampling, "FLOATS", request.param == "floats")


@pytest.mark.parametrize("size", [*SIZES, (2, 1100), (3, 5000)])
def test_every_pixel_is_pillows(size, arithmetic):
    pixels = images(size)
    for to in ((8, 9), (32, 32), (3, 50)):
        theirs = [
            np.asarray(Image.fromarray(p).resize(to[::-1], Image.Resampling.LANCZOS))
            for p in pixels
        ]
        assert np.array_equal(resized(torch.from_numpy(pixels), to).numpy(), theirs)


def test_sums_that_a_float_cannot_hold_are_summed_as_integers():
    exact = [resampling._exact(resampling._digits(n, 9)) for n in (64, 512, 1500, 9000, 1 << 20)]
    assert exact == [True, True, True, False, False]


def test_a_batch_larger_than_a_block_is_the_same_as_one_by_one():
    pixels = torch.randint(0, 256, (40, 300, 300), dtype=torch.uint8)
    whole = resized(pixels, (8, 9))
    assert torch.equal(whole, torch.cat([resized(p[None], (8, 9)) for p in pixels]))


def test_volumes_are_resized_axis_by_axis():
    volume = torch.randint(0, 256, (2, 20, 17, 30), dtype=torch.uint8)
    found = resized(volume, (4, 4, 5))
    planes = resized(volume.flatten(0, 1), (4, 5)).view(
        2, 20, 4, 5
    )  # the last two axes, as of films
    columns = resized(planes.permute(0, 2, 1, 3).reshape(-1, 20, 5), (4, 5))
    assert torch.equal(found, columns.view(2, 4, 4, 5).permute(0, 2, 1, 3))
    for hash in HASHES.values():
        assert hash(volume).shape == (2,)
        assert hash(volume)[0] != hash(volume)[1]


def test_brightness_hardly_matters_mirroring_does_and_constant_images_have_no_bits():
    draw = np.random.default_rng(1)
    small = torch.from_numpy(draw.random((30, 1, 6, 7), np.float32))
    smooth = torch.nn.functional.interpolate(small, (64, 64), mode="bicubic")[:, 0].clamp(0, 1)
    plain, brighter = ((smooth * a + b).round().to(torch.uint8) for a, b in ((120, 20), (180, 60)))
    difference = HASHES["dhash"]
    assert distances(difference(plain), difference(brighter)).max() <= 2
    assert distances(difference(plain), difference(plain.flip(2))).min() > 10
    assert difference(torch.full((3, 50, 60), 77, dtype=torch.uint8)).tolist() == [0, 0, 0]
