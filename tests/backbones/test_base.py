import pytest
import torch
from torch import nn

from medssl.backbones.base import architecture, build, expand_visible, hide, per_axis, pool
from medssl.errors import UserError


class Own(nn.Module):
    """A user's own backbone, named by module:Class."""

    def __init__(self, in_channels: int, *, width: int = 3):
        super().__init__()
        self.in_channels, self.channels = in_channels, (width,)


def test_a_network_is_built_by_name_with_options_as_the_command_line_gives_them():
    backbone = build("vit", in_channels=2, ndim="2", patch="8", width="24", depth="1")
    assert backbone.patch == (8, 8) and backbone.channels == (24,) and backbone.in_channels == 2


def test_a_users_own_class_is_built_without_touching_the_table():
    backbone = build(f"{__name__}:Own", in_channels=1, width=5)
    assert type(backbone).__name__ == "Own" and backbone.channels == (5,)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("res_nuet", {}, "res_unet"),
        ("vit", {"widht": 24}, "width"),
        ("vit", {"depth": "deep"}, "depth"),
        ("no_such_module_at_all:Net", {}, "no_such_module_at_all"),
        ("medssl.backbones.vit:Vit", {}, "Vit"),
    ],
)
def test_what_is_unknown_is_refused_by_name(name, options, says):
    with pytest.raises(UserError, match=says) as refusal:
        build(name, in_channels=1, **options)
    assert refusal.value.code == "CONFIG"


def test_a_card_keeps_the_architecture_and_not_the_file_it_started_from():
    options = {"model": "resnet18", "pretrained_weights": "somewhere.safetensors"}
    assert architecture(options) == {"model": "resnet18"}


def test_pool_is_the_mean_of_every_level():
    levels = [torch.randn(2, 3, 4, 6), torch.randn(2, 5, 2, 3)]
    expected = torch.cat([levels[0].mean((2, 3)), levels[1].mean((2, 3))], 1)
    assert torch.allclose(pool(levels), expected)
    assert pool([torch.ones(1, 2, 3, 3, 3)]).shape == (1, 2)


def test_expand_visible_repeats_each_cell_over_its_block():
    visible = torch.tensor([[True, False], [False, True]]).view(1, 1, 2, 2)
    wide = expand_visible(visible, (4, 6))
    assert torch.equal(wide[0, 0], torch.kron(visible[0, 0].int(), torch.ones(2, 3).int()).bool())
    with pytest.raises(ValueError, match="evenly"):
        expand_visible(visible, (4, 5))
    with pytest.raises(ValueError, match="evenly"):
        expand_visible(visible, (4, 4, 4))


def test_hide_puts_zero_over_nan_and_keeps_the_rest():
    image = torch.tensor([1.0, float("nan"), 3.0, float("inf")]).view(1, 1, 2, 2)
    visible = torch.tensor([True, False, True, False]).view(1, 1, 2, 2)
    assert hide(image, visible).flatten().tolist() == [1, 0, 3, 0]
    assert hide(image, None) is image
    assert hide(image.half(), visible).dtype == torch.float16


def test_one_number_stands_for_all_axes():
    assert per_axis(4, 3, "x") == per_axis([4], 3, "x") == per_axis([4, 4, 4], 3, "x") == (4, 4, 4)
    for bad in ([1, 2], 0, [1, 2, -1], []):
        with pytest.raises(UserError, match="x"):
            per_axis(bad, 3, "x")
