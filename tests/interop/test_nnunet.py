"""nnU-Net's own code loads what is passed on to it, and trains from there."""

import copy
import json

import pytest
import torch

from medssl.backbones.base import build
from medssl.interop import nnunet
from medssl.interop.importing import match
from medssl.interop.model import Model
from medssl.interop.reading import read_weights

OPTIONS = {"channels": [4, 6, 8], "blocks": [1, 1, 2], "strides": [[1], [2], [2, 2, 1]]}


@pytest.fixture
def model():
    torch.manual_seed(2)
    backbone = build("resenc", in_channels=1, **OPTIONS).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return Model(backbone, "resenc", OPTIONS, (16, 8, 12), {"recipe": {"spacing": [1, 2, 3]}}, "")


def test_the_plan_counts_axes_as_nnunet_does(model):
    plan, arch = nnunet.adaptation_plan(model), nnunet.architecture(model.backbone)
    assert plan["recommended_downstream_patchsize"] == [12, 8, 16]
    (configuration,) = plan["pretrain_plan"]["configurations"].values()
    assert configuration == {"spacing": [3, 2, 1], "patch_size": [12, 8, 16]}
    assert arch["arch_kwargs"]["strides"] == [[1, 1, 1], [2, 2, 2], [1, 2, 2]]
    assert json.loads(json.dumps(plan)) == plan


def test_every_weight_has_both_of_its_names(model):
    state = nnunet.doubled(model.backbone)
    assert torch.equal(
        state["stem.convs.0.conv.weight"], state["stem.convs.0.all_modules.0.weight"]
    )
    assert torch.equal(
        state["stages.1.blocks.0.skip.1.norm.bias"],
        state["stages.1.blocks.0.skip.1.all_modules.1.bias"],
    )
    weight = model.backbone.stem.convs[0].conv.weight
    assert torch.equal(state["stem.convs.0.conv.weight"], weight.permute(0, 1, 4, 3, 2))


@pytest.fixture
def written(model, tmp_path):
    pytest.importorskip("dynamic_network_architectures")
    nnunet.write(model, tmp_path)
    return tmp_path


def test_turned_round_images_have_turned_round_features(model, written):
    image = torch.randn(1, 1, 16, 8, 12)
    arch = json.loads((written / "architecture.json").read_text())
    plan = json.loads((written / "adaptation_plan.json").read_text())
    found = torch.load(written / nnunet.CHECKPOINT, weights_only=True)
    assert found["nnssl_adaptation_plan"] == plan
    assert plan["architecture_plans"]["arch_kwargs"] == arch["arch_kwargs"]
    with torch.no_grad():
        ours, theirs = model.backbone(image), nnunet.features(model, written)(image)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


def test_a_checkpoint_of_nnunet_comes_back(model, written):
    source = {
        k: v.permute(0, 1, 4, 3, 2) if v.ndim == 5 else v
        for k, v in read_weights(written / nnunet.CHECKPOINT).items()
    }
    again = build("resenc", in_channels=1, **OPTIONS)
    assert match(again, source).share == 1.0
    pairs = zip(model.backbone.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_nnunet_loads_it_by_its_own_reader_and_takes_a_step(model, written):
    """What `nnUNetv2_train -pretrained_weights` does, on plans with this architecture."""
    pytest.importorskip("nnunetv2")
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    arch = json.loads((written / "architecture.json").read_text())
    net = get_network_from_plans(
        arch["network_class_name"], arch["arch_kwargs"], arch["_kw_requires_import"], 1, 3,
        deep_supervision=False,
    )  # fmt: skip
    load_pretrained_weights(net, str(written / nnunet.CHECKPOINT))
    for key, value in nnunet.doubled(model.backbone).items():
        assert torch.equal(net.encoder.state_dict()[key], value)
    loss_of = DC_and_CE_loss(
        {"batch_dice": True, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    optimiser = torch.optim.SGD(net.parameters(), 1e-2, momentum=0.99, nesterov=True)
    image, truth = torch.randn(2, 1, 12, 8, 16), torch.randint(0, 3, (2, 1, 12, 8, 16))
    before = copy.deepcopy(net.encoder.state_dict())
    losses = []
    for _ in range(3):
        loss = loss_of(net(image), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(torch.isfinite(torch.tensor(losses))) and losses[-1] < losses[0]
    assert any(not torch.equal(before[k], v) for k, v in net.encoder.state_dict().items())
