"""Published layouts, made by their libraries' own constructors, and what must be refused."""

import re

import pytest
import torch
from monai.networks import nets
from torch import nn

from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.interop.importing import match
from medssl.interop.reading import read_weights
from tests.interop.published import (
    ct_fm,
    doubled_swin,
    genesis,
    medicalnet,
    monai_vit,
    moved,
    nnssl,
    radimagenet,
    ssl_swin,
    swin,
    timm_resnet,
    torchvision,
    voco,
)

SWIN = {"feature_size": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 4}
VIT = {"patch": 8, "width": 24, "depth": 2, "heads": 2}


# (what is in the file, backbone, options, share that came as it was, rules by which the rest did)
LAYOUTS = {
    "SwinUNETR": (swin, "swin_unetr", SWIN, 1.0, ()),
    "SwinUNETR SSL": (ssl_swin, "swin_unetr", SWIN, 1.0, ()),
    "SwinUNETR SSL, doubled": (doubled_swin, "swin_unetr", SWIN, 1.0, ()),
    "VoCo": (voco, "swin_unetr", {**SWIN, "v2": True}, 1.0, ()),
    "CT-FM": (ct_fm, "segresnet", {"width": 4, "blocks": [1, 2, 1], "norm": "batch"}, 1.0, ()),
    "Models Genesis": (genesis, "genesis", {"levels": 2}, 1.0, ()),
    "nnssl": (nnssl, "resenc", {"channels": [4, 6, 8], "blocks": [1, 1, 2]}, 1.0, ()),
    "MONAI ViT": (
        monai_vit, "vit", {**VIT, "grid": [3, 3, 3]}, 0.5,
        ("positions stretched from 2x2x2 to 3x3x3", "no bias in the file", "as a linear layer"),
    ),
    "torchvision": (timm_resnet, "timm", {"model": "resnet18"}, 0.99, ("3 input channels summed to 1",)),
    "RadImageNet": (radimagenet, "timm", {"model": "resnet18"}, 0.99, ("3 input channels summed to 1",)),
}  # fmt: skip


def read(state, tmp_path) -> dict:
    torch.save(state, tmp_path / "weights.pth")
    return read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_fill_the_whole_encoder(layout, tmp_path):
    made, name, options, plain, rules = LAYOUTS[layout]
    source = read(made(), tmp_path)
    backbone = build(name, in_channels=1, **options)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    ledger = match(backbone, source)
    assert ledger.share == 1.0, ledger
    learnt = sum(p.numel() for p in backbone.parameters())
    assert ledger.count("loaded", "adapted") >= learnt and ledger.count("loaded") >= plain * learnt
    told = " ".join(row["how"] for row in ledger.rows if row["status"] == "adapted")
    assert all(rule in told for rule in rules) and bool(told) == bool(rules), told
    # Every number is in the network as the file has it.
    state = backbone.state_dict()
    for row in ledger.rows:
        if row["status"] == "loaded":
            assert torch.equal(state[row["weight"]], source[row["in_file"]]), row
        if row["status"] in ("loaded", "adapted") and "bias: 0" not in row["how"]:
            same = torch.equal(state[row["weight"]], before[row["weight"]])
            assert not same or "no bias" in row["how"], row
    # And every tensor of the file stands in the ledger, once.
    names = [row["in_file"] for row in ledger.rows if row["in_file"]]
    assert sorted(names) == sorted(source)


def test_features_are_those_of_the_library(tmp_path):
    net = moved(nets.ViT(1, (16, 16, 16), (8, 8, 8), 24, 96, 2, 2)).eval()
    backbone = build("vit", in_channels=1, **VIT, grid=[2, 2, 2]).eval()
    match(backbone, read({f"vit.{k}": v for k, v in net.state_dict().items()}, tmp_path))
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        expected, found = net(image)[0], backbone(image)[0]
    assert torch.allclose(found.flatten(2).transpose(1, 2), expected, atol=1e-5)


def test_medicalnet_s_files_lack_counts_of_batches_and_that_is_no_loss(tmp_path):
    source = read(medicalnet(), tmp_path)
    backbone = build("resnet", in_channels=1, depth=50, width=4)
    ledger = match(backbone, source)
    assert 0 < ledger.share < 1  # one block a stage in the file, 3, 4, 6 and 3 here
    missing = [row["weight"] for row in ledger.rows if row["status"] == "missing"]
    assert all(re.match(r"net\.layer\d\.[1-5]\.", name) for name in missing)
    assert not any("num_batches" in row["weight"] for row in ledger.rows)


def test_2d_weights_answer_to_equal_slices_as_before(tmp_path):
    source = read(timm_resnet(), tmp_path)
    backbone = build("resnet", in_channels=3, depth=18, shortcut="B").eval()
    ledger = match(backbone, source)
    assert ledger.share == 1.0
    assert any("2D kernels spread over a depth of 3" in row["how"] for row in ledger.rows)
    flat = torchvision(18)
    flat.load_state_dict(source)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        seen = flat.eval().bn1(flat.conv1(image))
        volume = image[..., None].expand(*image.shape, 64)
        found = backbone.net.bn1(backbone.net.conv1(volume))
    assert torch.allclose(found[..., 8:-8], seen[..., None].expand_as(found)[..., 8:-8], atol=1e-3)


def test_another_number_of_channels_answers_to_equal_ones_as_before():
    source = {"conv1.weight": torch.randn(64, 3, 7, 7), **{
        k: v for k, v in timm_resnet().items() if k != "conv1.weight"
    }}  # fmt: skip
    image = torch.randn(1, 1, 32, 32)
    for channels in (1, 2, 5):
        backbone = build("timm", in_channels=channels, model="resnet18")
        match(backbone, dict(source))
        with torch.no_grad():
            found = backbone.net.conv1(image.expand(-1, channels, -1, -1))
            before = nn.functional.conv2d(
                image.expand(-1, 3, -1, -1), source["conv1.weight"], None, 2, 3
            )
        assert torch.allclose(found, before, atol=1e-4)


def test_two_sets_that_fit_alike_must_be_chosen_from():
    state = swin()
    source = {f"student.{k}": v for k, v in state.items()}
    source |= {f"teacher.{k}": v + 0.5 if v.is_floating_point() else v for k, v in state.items()}
    backbone = build("swin_unetr", in_channels=1, **SWIN)
    with pytest.raises(UserError, match="two sets of weights fit alike.*prefix=student.swinViT."):
        match(backbone, source)
    ledger = match(backbone, source, "teacher.swinViT")
    assert ledger.share == 1.0
    key = "swinViT.patch_embed.proj.weight"
    assert torch.equal(backbone.state_dict()[key], state[key] + 0.5)
    why = {row["how"] for row in ledger.rows if row["in_file"].startswith("student.")}
    assert why <= {"not behind teacher.swinViT.", "made anew: nothing that was learnt"}


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_a_dynunet_s_last_level_is_found_whatever_their_number(levels):
    """It is called bottleneck, those before it downsamples."""
    widths = [4, 6, 8, 10, 12][:levels]
    net = nets.DynUNet(
        2, 1, 2, [3] * levels, [2] * levels, [2] * (levels - 1), filters=widths, res_block=True
    )
    backbone = build("res_unet", in_channels=1, ndim=2, channels=widths)
    ledger = match(backbone, moved(net).state_dict())
    assert ledger.share == 1.0, ledger
    last = backbone.state_dict()[f"stages.{levels - 1}.0.conv2.conv.weight"]
    assert torch.equal(last, net.bottleneck.conv2.conv.weight)


def test_equal_copies_need_no_choice():
    state = swin()
    source = {**{f"a.{k}": v for k, v in state.items()}, **{f"bb.{k}": v for k, v in state.items()}}
    assert match(build("swin_unetr", in_channels=1, **SWIN), source).share == 1.0


@pytest.mark.parametrize(
    "name, options, prefix, words",
    [
        ("swin_unetr", SWIN, "nonsense", ["no name behind it", "state_dict.swinViT. (100%)"]),
        ("genesis", {}, None, ["none of its", "choose the backbone", "medssl backbones"]),
    ],
    ids=["wrong prefix", "wrong network"],
)
def test_what_does_not_fit_is_an_error_that_says_what_to_do(name, options, prefix, words):
    backbone = build(name, in_channels=1, **options)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    source = {f"state_dict.{key}": value for key, value in swin().items()}
    source = {k: v for k, v in source.items() if "swinViT" in k and v.is_floating_point()}
    with pytest.raises(UserError) as error:
        match(backbone, source, prefix, "file.pth")
    assert error.value.code == "WEIGHTS" and "tmp" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_half_precision_is_told():
    source = {
        key: value.half() if value.is_floating_point() else value for key, value in swin().items()
    }
    ledger = match(build("swin_unetr", in_channels=1, **SWIN), source)
    assert ledger.share == 1.0 and "from float16" in str(ledger)
