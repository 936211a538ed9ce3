import math

import pytest
import torch

from medssl.backbones.vit import Block, ViT, as_map, cut_patches, sincos_positions
from medssl.errors import UserError


def half(grid, n=2):
    visible = torch.zeros(n, math.prod(grid), dtype=torch.bool)
    visible[:, ::2] = True
    return visible.view(n, 1, *grid)


@pytest.mark.parametrize(("ndim", "grid"), [(2, (3, 4)), (3, (2, 3, 2))])
def test_only_visible_tokens_enter_the_blocks_and_the_map_is_zero_elsewhere(ndim, grid):
    backbone = ViT(1, ndim=ndim, patch=4, width=12, depth=2)
    counts = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda module, given, out: counts.append(given[0].shape[1]))
    visible = half(grid)
    (level,) = backbone(torch.randn(2, 1, *[4 * g for g in grid]), visible)
    assert counts == [math.prod(grid) // 2] * 2
    hidden = ~visible.expand_as(level)
    assert not level[hidden].any() and level[~hidden].all()


def test_visible_patches_keep_their_content_and_position():
    backbone, image = ViT(1, ndim=2, patch=4, width=12, depth=1), torch.randn(2, 1, 8, 12)
    visible = torch.tensor([[0, 1, 1, 0, 0, 1], [1, 0, 0, 1, 1, 0]]).bool().view(2, 1, 2, 3)
    everything, _ = backbone.tokens(image, None)
    tokens, kept = backbone.tokens(image, visible)
    assert kept.tolist() == [[1, 2, 5], [0, 3, 4]]
    for i in range(2):
        torch.testing.assert_close(tokens[i], everything[i, kept[i]])


def test_all_visible_equals_no_mask():
    backbone, image = ViT(1, ndim=2, patch=4, width=12, depth=2).eval(), torch.randn(2, 1, 8, 12)
    everything = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    torch.testing.assert_close(backbone(image, everything), backbone(image))


def test_a_mask_of_coarser_cells_hides_whole_blocks_of_patches():
    backbone, image = ViT(1, ndim=2, patch=2, width=12, depth=1), torch.randn(2, 1, 8, 8)
    coarse = half((2, 2))
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(backbone(image, coarse)[0], backbone(image, fine)[0])


def test_masks_that_do_not_fit_are_refused():
    backbone, image = ViT(1, ndim=2, patch=4, width=12, depth=1), torch.randn(2, 1, 8, 8)
    uneven = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    uneven[0, 0, 0, 0] = False
    for visible in (uneven, torch.zeros(2, 1, 2, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match="same number"):
            backbone(image, visible)
    with pytest.raises(ValueError, match="evenly"):
        backbone(image, torch.ones(2, 1, 8, 8, dtype=torch.bool))


@pytest.mark.parametrize(("ndim", "patch"), [(2, (4, 2)), (3, (2, 4, 1))])
def test_the_embedding_is_a_strided_convolution(ndim, patch):
    backbone = ViT(2, ndim=ndim, patch=list(patch), width=12, depth=1)
    image = torch.randn(2, 2, *[3 * p for p in patch])
    weight = backbone.embed.weight.view(12, 2, *patch)
    convolution = {2: torch.conv2d, 3: torch.conv3d}[ndim]
    expected = convolution(image, weight, backbone.embed.bias, patch).flatten(2).transpose(1, 2)
    torch.testing.assert_close(backbone.embed(cut_patches(image, patch)), expected)


def test_positions_are_sines_and_cosines_of_each_axis():
    grid, width = (3, 2, 4), 12
    table = sincos_positions(grid, width)
    assert table.shape == (24, width) and table.dtype == torch.float32
    for row, place in enumerate((i, j, k) for i in range(3) for j in range(2) for k in range(4)):
        expected = [
            wave(index / 10000 ** (f / 2))
            for index in place
            for wave in (math.sin, math.cos)
            for f in range(2)
        ]
        assert table[row].tolist() == pytest.approx(expected, abs=1e-6)
    assert len(table.unique(dim=0)) == 24


def test_positions_are_not_learned_and_follow_the_grid():
    backbone = ViT(1, ndim=2, patch=4, width=12, depth=1)
    assert set(backbone.state_dict()) == {name for name, _ in backbone.named_parameters()}
    for size in ((8, 8), (4, 20)):
        backbone.embed.weight.data.zero_()
        tokens, kept = backbone.tokens(torch.randn(1, 1, *size), None)
        assert kept is None
        assert torch.equal(tokens[0], sincos_positions((size[0] // 4, size[1] // 4), 12))


@pytest.mark.parametrize(("grid", "width"), [((2, 2), 6), ((2, 2, 2), 8), ((2, 2, 2), 64)])
def test_a_width_that_axes_cannot_share_is_refused(grid, width):
    with pytest.raises(ValueError, match=f"width {width} must be a multiple of {2 * len(grid)}"):
        sincos_positions(grid, width)
    with pytest.raises(UserError, match="backbone.width"):
        ViT(1, ndim=len(grid), patch=4, width=width, heads=1)


def test_a_width_that_heads_cannot_share_is_refused_with_one_that_fits():
    with pytest.raises(UserError, match="use 60"):
        ViT(1, ndim=3, patch=4, width=66, heads=5)


def test_attention_equals_the_plain_formula():
    block, x = Block(12, 3), torch.randn(2, 5, 12)
    q, k, v = block.qkv(block.norm1(x)).split(12, dim=2)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 2).softmax(-1)
        heads.append(weights @ v[..., part])
    expected = x + block.project(torch.cat(heads, -1))
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("skip", [1, 4])
def test_skipped_tokens_are_seen_but_not_carried_on(skip):
    block, x = Block(12, 3), torch.randn(2, 5, 12)
    torch.testing.assert_close(block(x, skip), block(x)[:, skip:])
    other = torch.where((torch.arange(5) < skip)[:, None], -x, x)
    assert not torch.allclose(block(other, skip), block(x, skip))


@pytest.mark.parametrize(("ndim", "grid"), [(2, (3, 4)), (3, (2, 3, 2))])
def test_only_the_patches_asked_for_are_cut(ndim, grid):
    image = torch.randn(2, 3, *[n * p for n, p in zip(grid, (2, 4, 1), strict=False)])
    kept = torch.tensor([[0, 5, 7], [11, 2, 3]])
    patches = cut_patches(image, (2, 4, 1)[:ndim])
    expected = torch.stack([p[k] for p, k in zip(patches, kept, strict=True)])
    assert torch.equal(cut_patches(image, (2, 4, 1)[:ndim], kept), expected)


def test_a_block_does_not_care_for_the_order_of_tokens():
    block, x = Block(12, 3), torch.randn(1, 7, 12)
    order = torch.randperm(7)
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]))


def test_drop_path_leaves_out_whole_samples_while_training_and_keeps_the_mean():
    torch.manual_seed(0)
    block, x = Block(12, 3, drop_path=0.5), torch.randn(1, 4, 12).expand(4000, -1, -1)
    whole = block.eval()(x[:1])
    assert torch.equal(block(x)[:1], whole)  # nothing is left out in evaluation
    branch = block._attended(block.norm1(x))
    dropped = block.train()._sometimes(branch)
    gone = (dropped == 0).flatten(1).all(1)
    torch.testing.assert_close(dropped[~gone], 2 * branch[~gone])
    assert 0.45 < gone.float().mean() < 0.55
    rates = [b.drop_path for b in ViT(1, patch=4, width=12, depth=3, drop_path=0.2).blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_tokens_return_to_their_places():
    tokens, kept = torch.arange(1.0, 5.0).view(1, 4, 1), torch.tensor([[0, 2, 3, 5]])
    assert as_map(tokens, kept, (2, 3)).flatten().tolist() == [1, 0, 2, 3, 0, 4]


def test_heads_that_do_not_divide_the_width_are_told():
    with pytest.raises(ValueError, match="5 heads do not divide 24 channels"):
        Block(24, 5)
