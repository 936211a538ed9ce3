"""Batched augmentation against MONAI's dictionary transforms and TorchIO's, sample by sample.

Eight crops of 96 voxels: flips, rotation, scale and shift, gamma, contrast, gain and offset, blur,
noise, all of them for every sample and in every library, as its users write them. TorchIO has no
contrast, gain or offset: they are one function in its `Lambda`. All have two threads. TorchIO is no
requirement of the project: its test is left out where it is not installed.

On two quiet cores (2026) MONAI took 3.2 times as long as ours (155 to 165 ms), TorchIO 3.6 times; on
cores that other jobs share, where only work counts, 2.8 to 3.2 and 2.9 to 3.6. Half of ours is the
resampling, in which torch's own `grid_sample` takes 1.7 times as long. What was tried for it: a volume
folded into a film of its slices, for torch's faster kernel in 2D, takes as long and misplaces voxels by
up to a thousandth; two neighbours looked up at once, as a complex number, takes longer.
"""

import math
import statistics
import time

import pytest
import torch

from medssl.augment.compose import Augment

BATCH, SIZE, ROUNDS = 8, 96, 5
DEGREES, SCALE, SHIFT, GAMMA, LINEAR, NOISE, BLUR = 15, 0.15, 0.05, 0.2, 0.1, 0.1, 1.0
RANGE = (-5.0, 5.0)
OURS = Augment(
    flip=0.5, rotate=DEGREES, scale=[1 - SCALE, 1 + SCALE], shift=SHIFT, gamma=GAMMA, gain=LINEAR,
    offset=LINEAR, contrast=LINEAR, noise=NOISE, blur=BLUR,
)  # fmt: skip


def images() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    coarse = torch.randn(BATCH, 1, *[SIZE // 8] * 3, generator=g)
    return torch.nn.functional.interpolate(coarse, [SIZE] * 3, mode="trilinear").contiguous()


def ours(batch: torch.Tensor) -> None:
    OURS.draw(torch.arange(BATCH), (SIZE,) * 3).image(batch, RANGE)


def monais():
    from monai import transforms as T

    angle, key = math.radians(DEGREES), ["image"]
    apply = T.Compose(
        [
            *[T.RandFlipd(key, prob=0.5, spatial_axis=axis) for axis in range(3)],
            T.RandAffined(
                key, prob=1, rotate_range=[angle] * 3, scale_range=[SCALE] * 3,
                translate_range=[SHIFT * SIZE] * 3, mode="bilinear", padding_mode="zeros",
            ),
            T.RandAdjustContrastd(key, prob=1, gamma=(1 - GAMMA, 1 + GAMMA)),
            T.RandScaleIntensityFixedMeand(key, prob=1, factors=LINEAR),
            T.RandScaleIntensityd(key, prob=1, factors=LINEAR),
            T.RandShiftIntensityd(key, prob=1, offsets=LINEAR),
            T.RandGaussianSmoothd(key, prob=1, sigma_x=(0, BLUR), sigma_y=(0, BLUR), sigma_z=(0, BLUR)),
            T.RandGaussianNoised(key, prob=1, std=NOISE),
        ]
    )  # fmt: skip
    return lambda batch: [apply({"image": image}) for image in batch]


def torchios():
    tio = pytest.importorskip("torchio")

    def linear(x):
        contrast, gain, offset = torch.empty(3).uniform_(-LINEAR, LINEAR).tolist()
        mean = x.mean()
        return (mean + (1 + contrast) * (x - mean)) * (1 + gain) + offset

    apply = tio.Compose(
        [
            tio.RandomFlip((0, 1, 2)),
            tio.RandomAffine(scales=SCALE, degrees=DEGREES, translation=SHIFT * SIZE),
            tio.RandomGamma(GAMMA),
            tio.Lambda(linear),
            tio.RandomBlur((0, BLUR)),
            tio.RandomNoise(std=(0, NOISE)),
        ]
    )
    return lambda batch: [apply(tio.Subject(image=tio.ScalarImage(tensor=x))) for x in batch]


def times(*runs, wait=lambda: None) -> list[float]:
    """Median seconds of each, in turns, so that a busy machine slows all alike."""
    seconds = [[] for _ in runs]
    for round in range(ROUNDS + 1):
        for run, found in zip(runs, seconds, strict=True):
            wait()
            began = time.perf_counter()
            run()
            wait()
            if round:  # the first is for warming up
                found.append(time.perf_counter() - began)
    return [statistics.median(s) for s in seconds]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("peer, least", [(monais, 2.5), (torchios, 2.5)])
def test_on_a_cpu(peer, least):
    batch, theirs = images(), peer()
    mine, other = times(lambda: ours(batch), lambda: theirs(batch))
    print(
        f"\n{BATCH} crops of {SIZE}^3 on the CPU: ours {mine * 1e3:.0f} ms, {peer.__name__} "
        f"{other * 1e3:.0f} ms, {other / mine:.1f} times"
    )
    assert other / mine >= least


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    batch, theirs = images(), monais()
    there = batch.cuda()
    (mine,) = times(lambda: ours(there), wait=torch.cuda.synchronize)
    (other,) = times(lambda: theirs(batch))
    print(
        f"\n{BATCH} crops of {SIZE}^3: ours on {torch.cuda.get_device_name()} {mine * 1e3:.2f} ms, "
        f"MONAI on the CPU {other * 1e3:.0f} ms, {other / mine:.0f} times"
    )
    assert other / mine >= 50
