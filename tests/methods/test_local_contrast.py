"""Property checks of local contrast."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.local_contrast import (
    LocalContrast,
    lattice,
    local_contrast,
    neighbours,
    voxels,
)

SIZES = {2: [24, 32], 3: [24, 16, 24]}
CONVS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
S = 2


class Normed(nn.Module):
    """A backbone with all that moves in training by itself: batch statistics and dropout."""

    def __init__(self, ndim):
        super().__init__()
        self.ndim, self.in_channels, self.n_layers = ndim, 1, 1
        self.channels, self.strides = (4, 6), ((2,) * ndim, (4,) * ndim)
        self.divisor = self.strides[-1]
        self.first = nn.Sequential(CONVS[ndim](1, 4, 2, 2), NORMS[ndim](4), nn.Dropout(0.5))
        self.second = nn.Sequential(CONVS[ndim](4, 6, 2, 2), NORMS[ndim](6))

    def forward(self, image, visible=None):
        level = self.first(image)
        return [level, self.second(level)]

    def layer_of(self, parameter):
        return 0


def varied(image, seeds, **_):
    draws = [torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(s)) for s in
             seeds.tolist()]  # fmt: skip
    return image + 0.3 * torch.stack(draws)


def make(form="random", ndim=3, augment=varied, backbone=None, **options):
    torch.manual_seed(0)
    backbone = backbone or ResUNetEncoder(1, channels=[4, 6], ndim=ndim)
    options = {"size": SIZES[ndim], "form": form, "parts": S, "blocks": 1, "width": 8} | options
    return LocalContrast(backbone, augment, **options)


def batch(method, items=(3, 4, 5)):
    b, s = len(items), method.crops.parts
    draw, many = torch.Generator().manual_seed(0), [s] if s else []
    data = {
        "image": torch.randn(b, *many, 1, *method.size, generator=draw),
        "item": torch.tensor(items),
        "seed": torch.arange(b) + 10,
    }
    if s:
        data |= {"part": torch.arange(s).expand(b, s), "place": torch.rand(b, s)}
    return data


def golden(z, maps, around, temperature):
    """The paper's sums, term by term, in float64; z (2 M, R, D), `maps` the pairs that correspond."""
    z = z.double().numpy()

    def alike(p, q):
        return np.exp(p @ q / np.linalg.norm(p) / np.linalg.norm(q) / temperature)

    terms = []
    for one, two in maps:
        for f, g in ((z[one], z[two]), (z[two], z[one])):
            for r, near in enumerate(around):
                top = alike(f[r], g[r])
                rest = sum(alike(f[r], f[n]) + alike(f[r], g[n]) for n in near)
                terms.append(-np.log(top / (top + rest)))
    return np.mean(terms)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("form", ["random", "positive"])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_loss_against_numpy_in_float64(form, ndim, temperature):
    method = make(form, ndim, temperature=temperature)
    items = (3, 7, 7, 5)  # a scan that occurs twice gives one other scan, and never its own
    data = batch(method, items)
    if form == "random":
        maps = [(i, 4 + i) for i in range(4)]
    else:
        other = [[1, 3], [3, 0], [3, 0], [0, 1]]
        box = {(i, s): i * S + s for i in range(4) for s in range(S)}
        maps = [(m, 4 * S + m) for m in box.values()]
        maps += [(m, 4 * S + box[j, s]) for (i, s), m in box.items() for j in other[i]]
    z = method._compared(data)[0].detach()
    expected = golden(z, maps, method.neighbours.tolist(), temperature)
    assert float(method.training_step(data, 0).loss.detach()) == pytest.approx(expected, rel=1e-5)


def boxes_of(starts, region, places):
    index = np.arange(np.prod(places)).reshape(places)
    return [
        index[tuple(slice(a, a + region) for a in start)].ravel().tolist()
        for start in starts.tolist()
    ]


@pytest.mark.parametrize("places", [(48, 48), (11, 9), (20, 28, 24), (9, 12, 4)])
def test_regions_lie_inside_and_negatives_never_overlap_the_positive(places):
    starts = lattice(places, 3)
    inside = boxes_of(starts, 3, places)
    assert voxels(starts, 3, places).tolist() == inside  # in a flattened map, and none outside
    corners = set(product(*[(0, n - 3) for n in places]))
    assert corners <= set(map(tuple, starts.tolist())) and len(starts) == len(starts.unique(dim=0))
    around = neighbours(starts, 3, 5)
    assert around.shape == (len(starts), 5)
    for r, near in enumerate(around.tolist()):
        distance = (starts - starts[r]).square().sum(1).tolist()
        free = [n for n, box in enumerate(inside) if not set(box) & set(inside[r])]
        assert set(near) <= set(free) and len(set(near)) == 5
        assert sorted(distance[n] for n in near) == sorted(distance[n] for n in free)[:5]


def test_thirteen_regions_as_published_and_thirty_five_in_3d():
    assert len(lattice((48, 48), 3)) == 13 and len(lattice((20, 28, 24), 3)) == 35
    assert [22, 22] in lattice((47, 47), 3).tolist() and [11, 33] in lattice((47, 47), 3).tolist()


def test_a_map_too_small_for_its_regions_is_refused():
    with pytest.raises(UserError, match=r"method\.region: 3 does not fit"):
        lattice((8, 2), 3)
    with pytest.raises(UserError, match=r"method\.negatives"):
        make(ndim=2, size=[8, 8])  # a map of 4 x 4
    with pytest.raises(UserError, match=r"method\.blocks: found 4"):
        make(blocks=4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_region_is_projected_from_its_own_voxels(ndim):
    method = make(ndim=ndim).eval()
    places = [n // 2 for n in SIZES[ndim]]
    x = torch.randn(2, method.head.convs[0].in_channels, *places)
    z, y = method.head(x, method.voxels), method.head.convs(x)
    for r, start in enumerate(method.starts.tolist()):
        box = tuple(slice(a, a + 3) for a in start)
        expected = method.head.dense(y[(slice(None), slice(None), *box)].flatten(1))
        assert torch.allclose(z[:, r], expected, atol=1e-5)


def test_all_alike_gives_the_logarithm_of_the_choices_and_the_same_map_a_smaller_loss():
    around = neighbours(lattice((48, 48), 3), 3, 5)
    ones = torch.ones(2, 13, 4)
    assert float(local_contrast(ones, ones, around, 0.1)) == pytest.approx(np.log(11), rel=1e-6)
    f, g = torch.randn(2, 13, 16), torch.randn(2, 13, 16)
    same = local_contrast(f, f, around, 0.1)
    assert same < local_contrast(f, (f + g) / 2, around, 0.1) < local_contrast(f, g, around, 0.1)
    scaled = f * torch.rand(2, 13, 1).add(0.1)
    assert torch.allclose(local_contrast(scaled, g, around, 0.1), local_contrast(f, g, around, 0.1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(local_contrast(f, f, around, 0.1), same)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("form", ["random", "positive"])
def test_the_encoder_rests_to_the_bit_and_only_the_first_blocks_learn(form, ndim):
    method = make(form, ndim, backbone=Normed(ndim))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    for ask in (method.modules, method.eval, method.train):  # as it is built, and as the loop asks
        ask()
        assert not any(m.training for m in method.backbone.modules())
    assert method.training
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 3e-3, weight_decay=0.1)
    for step in range(2):
        optimizer.zero_grad()
        method.training_step(batch(method), step).loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
        optimizer.step()
    moved = {n for n, value in method.state_dict().items() if not torch.equal(value, before[n])}
    assert moved and not [n for n in moved if n.startswith("backbone.")]
    assert {n.split(".")[1] for n in moved if n.startswith("decoder.")} == {"blocks"}
    assert {n.split(".")[2] for n in moved if n.startswith("decoder.")} == {"0"}


@pytest.mark.parametrize("ndim", [2, 3])
def test_all_blocks_are_what_the_decoder_runs(ndim):
    method = make(ndim=ndim)
    image = torch.randn(1, 1, *SIZES[ndim])
    levels = method.backbone(image)
    x = method.decoder.partial(levels, image, len(method.decoder.blocks))
    assert torch.equal(method.decoder.head(x), method.decoder(levels, image))
    assert method.decoder.partial(levels, image, 1).shape[2:] == tuple(n // 2 for n in SIZES[ndim])


@pytest.mark.parametrize("form", ["random", "positive"])
def test_the_order_of_scans_does_not_matter(form):
    method = make(form)
    data, turn = batch(method, (3, 4, 5, 6)), torch.tensor([2, 0, 3, 1])
    turned = {name: value[turn] for name, value in data.items()}
    losses = [method.training_step(d, 0).loss for d in (data, turned)]
    assert torch.allclose(*losses, rtol=1e-5)


def test_views_differ_in_intensity_only():
    apply = augmenter(Augment(flip=0.5, rotate=30, noise=0, gamma=0, gain=0.2), (-9.0, 9.0))
    method = make(ndim=2, augment=apply)
    data = batch(method)
    images = method._compared(data)[2].flatten(1)
    for i, image in enumerate(data["image"].flatten(1)):
        for view in (images[i], images[3 + i]):
            assert np.corrcoef(image, view)[0, 1] > 0.999 and not torch.equal(image, view)
        assert not torch.equal(images[i], images[3 + i])


def test_too_few_other_scans_are_told():
    method = make("positive", 2)
    with pytest.raises(UserError, match=r"fit\.batch_size.*2 different scans.*batch_size=5"):
        method.training_step(batch(method, items=(3, 4, 4)), 0)
    assert make("random", 2).crops.parts == 0


def test_pictures_show_the_regions_and_ask_what_the_loss_asks():
    for ndim in (2, 3):
        method = make(ndim=ndim).eval()
        picture = method.pictures(batch(method), 0)[0]
        asked = picture["asked"]
        assert len(picture["rows"]) == len(picture["columns"]) == 13
        assert asked.shape == picture["values"].shape == (13, 13)
        assert picture["rows"][0].shape == (6,) * ndim and (np.diag(asked) == 1).all()
    method = make(ndim=2).eval()
    picture = method.pictures(batch(method), 0)[0]
    for r, near in enumerate(method.neighbours.tolist()):
        wanted = [1 if n == r else 0 if n in near else np.nan for n in range(13)]
        assert np.array_equal(picture["asked"][r], wanted, equal_nan=True)
    image = method._compared(batch(method))[2][0, 0].numpy()
    last = tuple(slice(n - 6, n) for n in SIZES[2])  # the last region is the last corner
    assert np.array_equal(picture["rows"][-1], image[last])
