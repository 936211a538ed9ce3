import pytest
import torch

from medssl.errors import UserError
from medssl.methods.parts.masking import (
    block_size,
    checked_cells,
    n_visible,
    patchify,
    random_mask,
    split_places,
    take,
    unpatchify,
)


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
    kept = torch.tensor([[0, 3, 4], [5, 1, 2]])
    assert torch.equal(patchify(image, patch, kept), take(tokens, kept))


def test_places_are_split_in_rising_order_and_put_together_again():
    mask = random_mask(torch.tensor([1, 2, 3]), (4, 3, 5), 0.7)
    seen, hidden = split_places(mask)
    assert seen.shape == (3, 18) and hidden.shape == (3, 42)
    flat = mask.flatten(1)
    for row, (s, h) in enumerate(zip(seen.tolist(), hidden.tolist(), strict=True)):
        assert s == (~flat[row]).nonzero().flatten().tolist()
        assert h == flat[row].nonzero().flatten().tolist()
    tokens, order = torch.randn(3, 60, 2), torch.cat([seen, hidden], 1)
    assert torch.equal(take(take(tokens, order), order.argsort(1)), tokens)


def test_blocks_divide_the_size_and_are_multiples_of_the_step():
    assert block_size((224, 224), 32, (1, 1)) == (32, 32)
    assert block_size((40, 56, 48), 16, (1, 1, 1)) == (20, 14, 16)
    assert block_size((96, 96, 64), 32, (16, 16, 32)) == (32, 32, 32)
    assert block_size((7, 8), 16, (1, 1)) == (1, 4)
    assert block_size((16, 32), 32, (16, 16)) == (16, 16)


def test_cells_that_do_not_fit_are_refused():
    assert checked_cells((8, 12), (4, 2), 0.5, "method.x") == (2, 6)
    with pytest.raises(UserError, match="method.x.*does not divide method.size"):
        checked_cells((8, 12), (3, 2), 0.5, "method.x")
    with pytest.raises(UserError, match=r"use \[16, 16\]"):  # and not [8, 8], which SparK refuses
        checked_cells((48, 48), (10, 10), 0.5, "method.x", (16, 16))
    with pytest.raises(UserError, match="method.mask_ratio.*12 cells"):
        checked_cells((8, 12), (4, 2), 0.99, "method.x")
