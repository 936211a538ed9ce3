import pytest
import torch

from medssl.config import Part
from medssl.errors import UserError
from medssl.training.card import card
from medssl.training.checkpoint import save_model
from medssl.training.start import backbone_of, parent_of
from tests.data.test_store import make

VIT = {"patch": 4, "width": 24, "depth": 2, "heads": 2}
SEEN = {"patients": {}, "scans": {}, "patient_key": ""}


@pytest.fixture
def store(tmp_path):
    return make(tmp_path / "store", [(16, 16, 16)])


def saved(folder, store, **more):
    backbone, description, _ = backbone_of(store, None, Part(name="vit", **VIT))
    about = {"config": {"fit": {"steps": 5}}, "steps": 5, **more}
    about = card("pretrained", backbone=description, recipe=store.recipe.model_dump(), seen=SEEN,
                 **about)  # fmt: skip
    save_model(folder, {"backbone": backbone}, about)
    return backbone


def test_weights_arrive_and_how_to_train_is_chosen_anew(store, tmp_path):
    kept = saved(tmp_path / "m", store)
    other = Part(name="vit", drop_path=0.3, width=48)
    backbone, description, parent = backbone_of(store, tmp_path / "m", other)
    assert all(
        torch.equal(a, b) for a, b in zip(kept.parameters(), backbone.parameters(), strict=True)
    )
    assert backbone.blocks[-1].drop_path == pytest.approx(0.3)
    assert description["options"] == {"in_channels": 1, **VIT, "drop_path": 0.3}
    assert parent_of(parent) == {"steps": 5, "weights_sha256": parent["weights_sha256"]}
    unlike, description, _ = backbone_of(
        store, tmp_path / "m", Part(name="swin_unetr", drop_path=0.3)
    )
    assert "drop_path" not in description["options"] and unlike.blocks[-1].drop_path == 0


def test_what_norms_have_seen_arrives_with_the_weights(store, tmp_path):
    """Between the stages of global and local contrast moving averages must not be lost."""
    network = Part(name="timm", model="test_resnet")
    first, description, _ = backbone_of(store, None, network)
    first.train()(torch.randn(4, 1, 64, 64) + 3)
    about = card("pretrained", backbone=description, recipe=store.recipe.model_dump(), seen=SEEN,
                 config={"fit": {"steps": 1}}, steps=1)  # fmt: skip
    save_model(tmp_path / "m", {"backbone": first}, about)
    second, _, _ = backbone_of(store, tmp_path / "m", network)
    means = {name: b for name, b in first.named_buffers() if name.endswith("running_mean")}
    assert means and all(b.abs().sum() > 0 for b in means.values())
    for name, buffer in second.named_buffers():
        assert torch.equal(buffer, first.get_buffer(name)), name


def test_from_scratch_takes_the_architecture_alone(store, tmp_path):
    kept = saved(tmp_path / "m", store)
    torch.manual_seed(1)
    backbone, _, parent = backbone_of(
        store, tmp_path / "m", Part(name="res_unet"), from_scratch=True
    )
    assert parent == {} and parent_of(parent) == {}
    assert not torch.equal(kept.embed.weight, backbone.embed.weight)


def test_what_a_user_should_know_of_the_start_is_said(store, tmp_path, capsys, monkeypatch):
    saved(tmp_path / "m", store, steps=3, alarm="features of all scans are nearly one point")
    store.recipe.spacing = [2.0, 2.0, 2.0]
    backbone_of(store, tmp_path / "m", Part(name="vit"))
    said = capsys.readouterr().err
    for words in ("stopped at step 3 of 5", "found collapsed: features", "recipe (spacing differ)"):
        assert words in said
    monkeypatch.setattr(type(store), "channels", 2)
    with pytest.raises(UserError, match="takes 1 channels, the store has 2"):
        backbone_of(store, tmp_path / "m", Part(name="vit"))
