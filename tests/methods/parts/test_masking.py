import pytest
import torch

from medssl.methods.parts.masking import n_visible, patchify, random_mask, unpatchify


def test_rounding_rule():
    assert n_visible(1000, 0.9) == 100 and n_visible(196, 0.9) == 20 and n_visible(49, 0.6) == 20
    for ratio in (0.0, 1.0, 0.999, 1e-4):
        with pytest.raises(ValueError):
            n_visible(196, ratio)


def test_masks_have_the_same_number_differ_between_samples_and_follow_seeds():
    masks = random_mask(torch.tensor([1, 2, 1]), (4, 6, 5), 0.75)
    assert masks.shape == (3, 1, 4, 6, 5) and masks.dtype == torch.bool
    assert masks.sum((1, 2, 3, 4)).tolist() == [90, 90, 90]
    assert torch.equal(masks[0], masks[2]) and not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize(
    "size, patch, channels",
    [
        ((8, 12), (4, 4), 1),
        ((8, 12), (2, 4), 3),
        ((8, 12, 6), (4, 4, 2), 1),
        ((6, 4, 8), (2, 4, 4), 2),
    ],
)
def test_patchify_round_trip(size, patch, channels):
    image = torch.randn(2, channels, *size)
    tokens = patchify(image, patch)
    grid = tuple(s // p for s, p in zip(size, patch, strict=True))
    assert torch.equal(unpatchify(tokens, patch, grid), image)
    first = image[(0, slice(None), *(slice(0, p) for p in patch))]
    assert torch.equal(tokens[0, 0], first.movedim(0, -1).reshape(-1))
