import numpy as np
import pytest
import torch
from skimage.metrics import normalized_mutual_information, structural_similarity

from medssl.backbones.base import build
from medssl.config import Part
from medssl.curation.embedding import Embedding
from medssl.curation.selection import facility_location
from medssl.curation.signatures import SIGNATURES, Every, MutualInformation, Ssim

RANGE = (-1.0, 1.0)


def slices(n: int = 12, axes: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    coarse = torch.rand(n, 1, *[6] * axes)
    mode = {2: "bicubic", 3: "trilinear"}[axes]
    smooth = torch.nn.functional.interpolate(coarse, (40,) * axes, mode=mode).clamp(0, 1)
    return smooth * 2 - 1


@pytest.mark.parametrize("axes", [2, 3])
def test_ssim_is_scikit_images(axes):
    signature = Ssim(side=24)
    pixels = signature.of(slices(6, axes), RANGE)
    assert pixels.shape == (6, *[24] * axes) and pixels.dtype == np.uint8
    found = signature.rows(pixels)(2, np.arange(6))
    theirs = [1 - structural_similarity(pixels[2], p, data_range=255) for p in pixels]
    assert np.allclose(found, theirs, atol=2e-5) and found[2] == 0


def test_mutual_information_is_scikit_images():
    signature = MutualInformation(side=40, bins=16)
    levels = signature.of(slices(), RANGE)
    found = signature.rows(levels)(3, np.arange(12))
    theirs = [2 - normalized_mutual_information(levels[3], one, bins=16) for one in levels]
    assert np.allclose(found, theirs, atol=1e-5) and found[3] == 0


def test_mutual_information_does_not_mind_how_grey_values_are_mapped():
    image = slices(2)
    remapped = torch.stack([image[0], -image[0], image[1]])
    levels = MutualInformation(side=40).of(remapped, RANGE)
    near = MutualInformation(side=40).rows(levels)(0, np.arange(3))
    assert near[1] < 0.5 * near[2]


@pytest.mark.parametrize("axes", [2, 3])
def test_mutual_information_takes_a_noisy_copy_for_one_and_no_other_image(axes):
    images = slices(axes=axes)
    copy = (images[:1] + 0.05 * torch.randn_like(images[:1])).clamp(-1, 1)
    signature = MutualInformation()
    found = signature.rows(signature.of(torch.cat([images, copy]), RANGE))(0, np.arange(13))
    assert found[12] < signature.threshold < found[1:12].min()


def test_constant_images_are_copies_of_each_other():
    constant = torch.full((3, 1, 40, 40), -1.0)
    for name in ("ahash", "dhash", "phash", "ssim", "nmi"):
        signature = Part(name=name).build(SIGNATURES, "signature")
        array = signature.of(constant, RANGE)
        assert signature.rows(array)(0, np.arange(3)).tolist() == [0, 0, 0], name


@pytest.mark.parametrize("name", [n for n in SIGNATURES if n not in ("every", "embedding")])
def test_small_changes_are_nearer_than_other_images(name):
    image = slices()
    changed = image[:1] * 0.9 + 0.02 * torch.randn(1, 1, 40, 40)
    signature = Part(name=name).build(SIGNATURES, "signature")
    array = signature.of(torch.cat([image, changed.clamp(-1, 1)]), RANGE)
    found = signature.rows(array)(0, np.arange(13))
    assert found[0] == 0 and found[12] < found[1:12].min()
    assert (found <= signature.most).all()
    back = signature.rows(array)(12, np.arange(13))
    assert np.isclose(back[0], found[12], atol=1e-5)


def test_every_counts_slices():
    every = Every()
    assert every.rows(every.of(slices(5), RANGE))(1, np.array([0, 1, 4])).tolist() == [1, 0, 3]


def test_the_most_typical_slices_of_a_volume_lie_evenly_apart():
    places = Every().of(slices(9), RANGE)
    kept = facility_location(Every().rows(places), 9, 1, Every.most)[0]
    assert set(kept) == {4}


def test_embeddings_are_of_length_one_whatever_the_batch():
    torch.manual_seed(0)
    network = build("res_unet", in_channels=1, channels=[4, 8], ndim=2)
    found = []
    for batch in (2, 50):
        signature = Embedding(size=[32, 32], batch=batch)
        signature.network = network
        found.append(signature.of(slices(), RANGE))
    assert found[0].shape == (12, 8) and np.allclose(found[0], found[1], atol=1e-5)
    assert np.allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)
    distances = signature.rows(found[0])(4, np.arange(12))
    assert distances[4] < 1e-6 and (distances >= 0).all()


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="side=5"):
        Ssim(side=5)
    with pytest.raises(ValueError, match="bins=1 "):
        MutualInformation(bins=1)
