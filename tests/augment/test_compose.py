import pytest
import torch

from medssl.augment import compose
from medssl.augment.compose import Augment, augmenter
from medssl.command_line import of
from medssl.errors import UserError

OFF = {name: 0 for name in ("rotate", "shift", "gain", "offset", "gamma", "noise")} | {
    "scale": [1, 1]
}
ALL = {
    "crop": [0.5, 0.9], "aspect": 0.3, "flip": 0.5, "rotate": 20, "scale": [0.8, 1.2], "shift": 0.1,
    "elastic": 2, "elastic_spacing": 8, "bias": 0.4, "gamma": 0.3, "contrast": 0.3, "gain": 0.2,
    "offset": 0.2, "blur": 1.5, "low_resolution": 2, "noise": 0.2, "cutout": 0.2, "cutout_boxes": 2,
}  # fmt: skip
VALUES = {
    "bias",
    "gamma",
    "contrast",
    "gain",
    "offset",
    "blur",
    "low_resolution",
    "noise",
    "cutout",
}
SIZES = [(18, 22), (12, 14, 10)]


def blobs(batch, size, channels=1):
    coarse = torch.randn(
        batch, channels, *[n // 4 for n in size], generator=torch.Generator().manual_seed(0)
    )
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    return torch.nn.functional.interpolate(coarse, size, mode=mode).clamp(-3, 3)


@pytest.mark.parametrize("elastic", [0, 3])
@pytest.mark.parametrize("size", [(48, 40), (24, 20, 28)])
def test_mask_moves_with_the_image(size, elastic):
    mask = torch.zeros(2, *size, dtype=torch.long)
    mask[(slice(None), *[slice(6, n - 8) for n in size])] = 1
    mask[(slice(None), slice(6, 10), *[slice(6, n - 8) for n in size[1:]])] = 2
    image = torch.nn.functional.one_hot(mask).movedim(-1, 1).float()
    on = {"rotate": 20, "flip": 0.5, "elastic": elastic, "elastic_spacing": 8, "crop": [0.7, 1]}
    augment = Augment(**OFF | on)
    drawn = augment.draw(torch.tensor([3, 4]), size)
    moved, moved_mask = drawn.image(image, (0.0, 1.0)), drawn.mask(mask)
    assert moved_mask.dtype == torch.long and not torch.equal(moved_mask, mask)
    assert (moved.argmax(1) == moved_mask).float().mean() > 0.99
    assert (moved_mask == 1).any() and (moved_mask == 2).any()


def test_masks_that_are_unknown_stay_so():
    mask = torch.full((2, 16, 16), -1)
    mask[1] = 3
    drawn = Augment(**OFF | {"scale": [0.5, 0.5]}).draw(torch.tensor([1, 2]), (16, 16))
    moved = drawn.mask(mask)
    assert (moved[0] == -1).all() and set(moved[1].unique().tolist()) == {0, 3}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("probability", [0.5, 1.0])
@pytest.mark.parametrize("name", [*sorted(ALL), "all"])
def test_a_sample_comes_out_the_same_alone_and_in_any_batch(name, probability, size):
    on = ALL if name == "all" else OFF | {name: ALL[name], "elastic_spacing": 8.0}
    apply = augmenter(Augment(**on, probability=probability), (-3.0, 3.0))
    image, seeds = blobs(5, size, channels=2), torch.tensor([11, 12, 13, 14, 2**62])
    before = image.clone()
    out = apply(image, seeds)
    assert torch.equal(image, before) and out.isfinite().all()
    for i in range(5):
        assert torch.allclose(apply(image[i : i + 1], seeds[i : i + 1])[0], out[i], atol=1e-6)
    order = [3, 0, 4]
    assert torch.allclose(apply(image[order], seeds[order]), out[order], atol=1e-6)
    if name not in ("aspect", "elastic_spacing", "cutout_boxes"):
        assert not torch.equal(out, image)
    else:  # says how, not whether
        assert out is image or torch.equal(out, image)


@pytest.mark.parametrize("size", SIZES)
def test_what_comes_in_is_the_sample_s_own_lowest_value(size):
    values = {name: 0 for name in VALUES - {"bias", "blur", "low_resolution", "cutout"}}
    apply = augmenter(Augment(**ALL | values | {"scale": [0.5, 0.5], "cutout": 0.5}), (-3.0, 3.0))
    image = torch.ones(2, 1, *size) * torch.tensor([-2.0, 1.5]).view(2, *[1] * (1 + len(size)))
    assert torch.allclose(apply(image, torch.tensor([1, 2])), image, atol=1e-5)


def test_every_channel_is_padded_with_its_own_lowest_value():
    augment = augmenter(Augment(shift=0.5, gain=0, offset=0, gamma=0, noise=0), (-5.0, 5.0))
    image = torch.rand(6, 2, 16, 16) + torch.tensor([-4.0, 2.0])[:, None, None]
    out = augment(image, torch.arange(6))
    assert (out.amin((2, 3)) >= image.amin((2, 3)) - 1e-5).all()


def test_values_stay_in_range_and_seeds_decide():
    apply = augmenter(Augment(noise=0.5), (-1.0, 1.0))
    image = torch.rand(3, 1, 16, 16) * 2 - 1
    out = apply(image, torch.tensor([1, 2, 1]))
    assert out.min() >= -1 and out.max() <= 1
    again = apply(image, torch.tensor([1, 2, 3]))
    assert torch.equal(out[:2], again[:2]) and not torch.equal(out[2], again[2])


@pytest.mark.parametrize("size", SIZES)
def test_nothing_on_gives_the_image_back(size):
    image = torch.randn(2, 1, *size) * 9
    image[0, 0, 0] = torch.nan
    drawn = Augment(**OFF).draw(torch.tensor([1, 2]), size)
    assert drawn.image(image, (-1.0, 1.0)) is image and drawn.intensity == {}
    mask = torch.randint(-1, 5, (2, *size))
    assert torch.equal(drawn.mask(mask), mask)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*sorted(ALL), "all"])
def test_constant_images_give_no_nan_and_a_nan_stays_with_its_sample(name, size):
    on = ALL if name == "all" else OFF | {name: ALL[name], "elastic_spacing": 8.0}
    apply = augmenter(Augment(**on), (-1.0, 1.0))
    seeds = torch.tensor([1, 2])
    for value in (-1.0, 0.0, 1.0):
        assert apply(torch.full((2, 1, *size), value), seeds).isfinite().all()
    image = torch.rand(2, 1, *size)
    clean = apply(image, seeds)
    image[0, 0, 3, 3] = torch.nan
    spoilt = apply(image, seeds)
    assert torch.allclose(spoilt[1], clean[1], atol=1e-6)
    if name not in ("cutout", "all"):
        assert spoilt[0].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_are_kept_and_autocast_changes_nothing(dtype):
    image = blobs(2, (12, 14, 10)).to(dtype)
    apply = augmenter(Augment(**ALL), (-3.0, 3.0))
    out = apply(image, torch.tensor([1, 2]))
    assert out.dtype == dtype and out.device == image.device
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply(image, torch.tensor([1, 2])), out)
    if dtype == torch.float64:  # noise is drawn in another type, all else is computed as before
        quiet = augmenter(Augment(**ALL | {"noise": 0}), (-3.0, 3.0))
        single = quiet(image.float(), torch.tensor([1, 2]))
        assert torch.allclose(quiet(image, torch.tensor([1, 2])).float(), single, atol=1e-3)


@pytest.mark.parametrize("size, output", [((18, 22), (9, 30)), ((12, 14, 10), (6, 7, 12))])
def test_methods_may_ask_for_a_size_a_crop_and_either_half(size, output):
    apply = augmenter(Augment(**ALL | {"crop": [1, 1]}), (-3.0, 3.0))
    image, seeds = blobs(3, size), torch.tensor([1, 2, 3])
    assert apply(image, seeds, size=output).shape == (3, 1, *output)
    view = apply(image, seeds, size=output, crop=(0.1, 0.3))
    assert view.shape == (3, 1, *output) and not torch.equal(view, apply(image, seeds, size=output))
    # The halves are drawn apart from each other.
    augment = Augment(**ALL)
    both, moved = (augment.draw(seeds, size, intensity=i) for i in (True, False))
    valued = augment.draw(seeds, size, spatial=False)
    assert torch.equal(both.maps, moved.maps) and torch.equal(both.elastic, moved.elastic)
    assert moved.intensity == {} and valued.elastic is None
    assert all(torch.equal(both.intensity[k], v) for k, v in valued.intensity.items())
    assert torch.equal(valued.maps, torch.eye(len(size), len(size) + 1).expand_as(valued.maps))
    cropped = augment.draw(seeds, size, spatial=False, crop=(0.5, 0.9))
    assert not torch.equal(cropped.maps, valued.maps)
    assert (
        cropped.maps[..., :-1].diagonal(dim1=1, dim2=2) > 0
    ).all()  # neither turned nor mirrored
    still = augmenter(Augment(**ALL), (-9.0, 9.0))(image, seeds, spatial=False, intensity=False)
    assert still is image
    # A new size takes in all of the image.
    whole = augmenter(Augment(**OFF), (-9.0, 9.0))(image, seeds, size=tuple(2 * n for n in size))
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    again = torch.nn.functional.interpolate(image, scale_factor=2, mode=mode)
    inside = (slice(None), slice(None), *[slice(1, -1)] * len(size))
    assert torch.allclose(whole[inside], again[inside], atol=1e-4)


def test_turning_one_on_leaves_the_draws_of_the_others():
    seeds = torch.arange(4)
    full = Augment(**ALL).draw(seeds, (16, 16))
    for name in sorted(VALUES):
        less = Augment(**ALL | {name: 0}).draw(seeds, (16, 16))
        key = {"low_resolution": "resolution"}.get(name, name)
        assert torch.equal(less.maps, full.maps)
        assert all(torch.equal(v, full.intensity[k]) for k, v in less.intensity.items() if k != key)


def test_parameters_may_be_changed_by_hand():
    image = blobs(2, (16, 16))
    drawn = Augment(**OFF | {"noise": 0.5, "gain": 0.3}).draw(torch.tensor([1, 2]), (16, 16))
    drawn.intensity["noise"][:] = 0
    drawn.intensity["gain"][:] = torch.tensor([1.0, 2.0])
    out = drawn.image(image, (-9.0, 9.0))
    assert torch.equal(out[0], image[0]) and torch.allclose(out[1], 2 * image[1])


def test_large_samples_taken_in_turn_come_out_as_all_at_once(monkeypatch):
    image, seeds = blobs(5, (12, 14, 10)), torch.arange(5)
    apply = augmenter(Augment(**ALL), (-3.0, 3.0))
    at_once = apply(image, seeds)
    monkeypatch.setattr(compose, "LARGE", 1)
    assert torch.allclose(apply(image, seeds), at_once, atol=1e-6)
    with torch.inference_mode():
        assert torch.allclose(apply(image, seeds), at_once, atol=1e-6)


def test_an_empty_batch_stays_empty():
    out = augmenter(Augment(**ALL), (0.0, 1.0))(torch.zeros(0, 1, 8, 8), torch.zeros(0).long())
    assert out.shape == (0, 1, 8, 8)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError):
        Augment(flip=2)
    with pytest.raises(UserError, match="folds"):
        of(Augment, "", values={"elastic": 20, "elastic_spacing": 16})
    with pytest.raises(UserError, match="crop goes from 0.9 down to 0.5"):
        of(Augment, "", values={"crop": [0.9, 0.5]})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives():
    image, seeds = blobs(3, (24, 20, 28)), torch.tensor([1, 2, 3])
    apply = augmenter(Augment(**ALL | {"noise": 0}), (-3.0, 3.0))  # noise differs by device
    there = apply(image.cuda(), seeds.cuda())
    assert there.is_cuda and torch.allclose(there.cpu(), apply(image, seeds), atol=1e-3)
    noisy = augmenter(Augment(noise=0.2), (-3.0, 3.0))
    assert torch.equal(noisy(image.cuda(), seeds), noisy(image.cuda(), seeds))
