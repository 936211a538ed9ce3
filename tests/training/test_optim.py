import pytest
import torch
from torch import nn

from medssl.backbones.base import build
from medssl.methods.simmim import SimMIM
from medssl.training.optim import Optim, parameter_groups, set_rates


class Net(nn.Module):
    """A backbone of three layers with a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
        self.backbone.n_layers = 3
        self.backbone.layer_of = lambda name: int(name.split(".")[0])
        self.head = nn.Linear(2, 2)


def test_every_parameter_is_in_one_group_and_rates_rise_with_depth():
    net = Net()
    groups = parameter_groups(net, Optim(layer_decay=0.5, backbone_rate=0.1))
    listed = [id(p) for g in groups for p in g["params"]]
    assert sorted(listed) == sorted(id(p) for p in net.parameters())
    scale = {id(p): g["scale"] for g in groups for p in g["params"]}
    assert scale[id(net.head.weight)] == 1
    depth = [scale[id(net.backbone[k].weight)] for k in range(3)]
    assert depth == pytest.approx([0.1 * 0.125, 0.1 * 0.25, 0.1 * 0.5])
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert decay[id(net.head.bias)] == 0 and decay[id(net.head.weight)] == 0.05


@pytest.mark.parametrize("whose", ["method", "network"])
def test_positions_and_tokens_are_not_decayed(whose):
    if whose == "method":
        module = SimMIM(build("vit", in_channels=1, ndim=2, patch=4, width=24, depth=1, heads=2),
                        lambda image, seeds, **_: image, size=[16, 16])  # fmt: skip
        names = {"token"}
    else:
        module = nn.Module()
        module.backbone = build("timm", in_channels=1, model="test_vit")
        names = {n for n, _ in module.named_parameters() if n.endswith(("pos_embed", "cls_token"))}
        assert len(names) == 2
    of = {id(p): g["weight_decay"] for g in parameter_groups(module, Optim()) for p in g["params"]}
    for name, parameter in module.named_parameters():
        assert of[id(parameter)] == (0 if parameter.ndim == 1 or name in names else 0.05), name


def test_a_resting_backbone_has_rate_zero_for_its_share_of_the_steps():
    net, optim = Net(), Optim(frozen=0.5, warmup=0)
    optimizer = torch.optim.AdamW(parameter_groups(net, optim))
    for step, resting in [(0, True), (4, True), (5, False)]:
        set_rates(optimizer, step, 10, optim)
        for group in optimizer.param_groups:
            assert (group["lr"] == 0) == (resting and group["rests"] > 0)
    assert sum(group["rests"] == 0 for group in optimizer.param_groups) == 2  # the head's


def test_layers_join_from_the_head_down():
    net, optim = Net(), Optim(frozen=0.2, unfreeze=0.6, warmup=0)
    optimizer = torch.optim.AdamW(parameter_groups(net, optim))
    began = {}
    for step in range(10):
        set_rates(optimizer, step, 10, optim)
        for group in optimizer.param_groups:
            for p in group["params"]:
                if group["lr"]:
                    began.setdefault(id(p), step)
    assert began[id(net.head.weight)] == 0
    assert [began[id(net.backbone[k].weight)] for k in (2, 1, 0)] == [2, 4, 6]
    assert Optim(unfreeze=0.5).for_new_weights().unfreeze == 0
