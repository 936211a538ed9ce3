import pytest
import torch

from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.interop.ledger import Ledger
from medssl.interop.ranges import fold

SWIN = {"feature_size": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 4, "ndim": 2}


@pytest.mark.parametrize(
    "name, options, first",
    [
        ("swin_unetr", SWIN, "swinViT.patch_embed.proj"),
        ("vit", {"ndim": 2, "patch": 8, "width": 24, "depth": 1}, "embed"),
    ],
)
@pytest.mark.parametrize("theirs", [(0.0, 1.0), (-2.0, 6.0)])
def test_the_same_scan_in_other_values_has_the_same_features(name, options, first, theirs):
    torch.manual_seed(0)
    backbone = build(name, in_channels=2, **options).eval()
    ledger = Ledger()
    ledger.add("loaded", weight=f"{first}.weight", n=5)
    ledger.add("missing", weight=f"{first}.bias", n=1)
    ours = torch.rand(1, 2, 64, 64) * 2 - 1
    seen = theirs[0] + (ours + 1) / 2 * (theirs[1] - theirs[0])
    with torch.no_grad():
        before = backbone(seen)
        fold(backbone, ledger, theirs, (-1.0, 1.0))
        after = backbone(ours)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True))
    assert [row["status"] for row in ledger.rows] == ["adapted", "missing"]
    assert "folded to -1..1" in ledger.rows[0]["how"]


def test_a_network_that_pads_is_left_alone():
    backbone = build("genesis", in_channels=1, width=2, levels=2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(UserError, match="pads with 0"):
        fold(backbone, Ledger(), (0, 1), (-1, 1))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
