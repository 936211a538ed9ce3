import pytest
import torch

from medssl.augment.compose import Augment, augmenter


def test_mask_moves_with_the_image():
    mask = torch.zeros(2, 24, 24, 24, dtype=torch.long)
    mask[:, 6:14, 8:18, 4:12] = 1
    image = mask[:, None].float() * 2 - 1
    drawn = Augment(gain=0, offset=0, gamma=0, noise=0, rotate=20).draw(
        torch.tensor([3, 4]), (24, 24, 24)
    )
    moved, moved_mask = drawn.image(image, (-1.0, 1.0)), drawn.mask(mask)
    assert ((moved[:, 0] > 0) == (moved_mask == 1)).float().mean() > 0.99
    assert not torch.equal(moved_mask, mask) and moved_mask.dtype == torch.long


def test_values_stay_in_range_and_seeds_decide():
    apply = augmenter(Augment(noise=0.5), (-1.0, 1.0))
    image = torch.rand(3, 1, 16, 16) * 2 - 1
    out = apply(image, torch.tensor([1, 2, 1]))
    assert out.min() >= -1 and out.max() <= 1
    again = apply(image, torch.tensor([1, 2, 3]))
    assert torch.equal(out[:2], again[:2]) and not torch.equal(out[2], again[2])


def test_bad_settings_are_refused():
    with pytest.raises(ValueError):
        Augment(flip=2)
