import json

import pytest
import torch

from medssl.backbones.base import build
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from medssl.training.card import card
from medssl.training.checkpoint import save_model

NETWORKS = {
    "res_unet": ("res_unet", {"channels": [8, 16]}, [16, 16, 16]),
    "res_unet, slices": ("res_unet", {"channels": [8, 16], "ndim": 2}, [24, 24]),
    "vit": ("vit", {"patch": 4, "width": 12, "depth": 1, "heads": 2}, [16, 16, 16]),
    "vit, slices": ("vit", {"patch": 4, "width": 12, "depth": 1, "heads": 2, "ndim": 2}, [16, 16]),
    "timm, slices": ("timm", {"model": "resnet10t"}, [32, 32]),
    "swin_unetr": ("swin_unetr", {"feature_size": 12, "depths": [1, 1, 1, 1]}, [32, 32, 32]),
}
FEW = {"per_class": 1, "voxels": 500, "windows": 8, "seed": 1}


def model(folder, name, options, size):
    torch.manual_seed(0)
    options = {"in_channels": 1, **options}
    about = card(
        "pretrained", backbone={"name": name, "options": options}, recipe={}, image_size=size,
        config={"fit": {"steps": 1}}, seen={"patients": {}, "scans": {}}, steps=1, method={},
    )  # fmt: skip
    save_model(folder / "model", {"backbone": build(name, **options)}, about)
    return folder


def probed(out) -> dict:
    return json.loads((out / "probe.json").read_text())


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_backbone_is_asked_by_every_probe(kind, cohort, tmp_path, capsys):
    run = model(tmp_path, *NETWORKS[kind])
    asked = ["knn", "linear", "attentive", "dense"]
    out = call("probe", run=run, store=cohort / "out/store", probes=asked, **FEW)
    found = probed(out)
    assert list(found) == asked
    for probe in asked:
        assert {"pretrained", "untrained", "difference", "chance"} <= set(found[probe])
        assert found[probe]["difference"]["n_patients"] == 2
    assert found["knn"]["pretrained"]["estimate"] == 1 == found["knn"]["chance"]  # one structure
    assert found["dense"]["classes"]["class_1"]["pretrained"] == found["dense"]["pretrained"]
    if kind.startswith("res_unet"):  # the ball is bright, and fine levels show it
        assert found["dense"]["pretrained"]["estimate"] > 0.5
    assert (out / "dense.png").read_bytes()[:4] == b"\x89PNG"
    words = capsys.readouterr().err
    assert "dense, mean Dice" in words and "knn, accuracy" in words
    assert "fewer than 10 patients are too narrow" in words
    assert f"picture: {out / 'dense.png'}" in words and f"figures: {out / 'probe.json'}" in words


def test_the_same_seed_gives_the_same_figures_and_classes_are_named(cohort, tmp_path, capsys):
    run = model(tmp_path, *NETWORKS["res_unet"])
    outs = [
        call("probe", run=run, store=cohort / "out/store", out=tmp_path / name, probes=["dense"],
             classes={1: "ball", 7: "rod"}, **FEW)
        for name in ("a", "b")
    ]  # fmt: skip
    assert (outs[0] / "probe.json").read_bytes() == (outs[1] / "probe.json").read_bytes()
    dense = probed(outs[0])["dense"]
    assert list(dense["classes"]) == ["ball"]
    assert dense["pretrained"]["estimate"] != dense["untrained"]["estimate"]
    same = {**FEW, "seed": 0}  # what `model` began with: nothing was trained
    out = call("probe", run=run, store=cohort / "out/store", probes=["dense"], **same)
    assert probed(out)["dense"]["difference"]["high"] == 0
    assert "no mask to learn from holds 7" in capsys.readouterr().err


def test_a_label_of_whole_scans(cohort, tmp_path):
    run = model(tmp_path, *NETWORKS["vit, slices"])
    for whole in (None, True):
        out = call(
            "probe", run=run, store=cohort / "out/store", target="label_odd", whole=whole,
            probes=["knn", "linear", "attentive", "dense"], k=3, **FEW,
        )  # fmt: skip
        found = probed(out)
        assert list(found) == ["knn", "linear", "attentive"]
        assert found["knn"]["pretrained"]["n_cases"] == 4 and found["knn"]["chance"] == 0.5
        assert not (out / "dense.png").exists()


def test_whole_scans_resized(cohort, tmp_path):
    run = model(tmp_path, *NETWORKS["res_unet"])
    out = call("probe", run=run, store=cohort / "out/store", probes=["dense"], whole=True,
               size=[16, 16, 16], **FEW)  # fmt: skip
    assert probed(out)["dense"]["pretrained"]["estimate"] > 0.4


def test_what_is_refused(cohort, tmp_path):
    run, store = model(tmp_path, *NETWORKS["res_unet"]), cohort / "out/store"
    for words, options in (
        ("on both sides", {"test": ["train", "test"]}),
        ("no structure to ask about", {"classes": {5: "liver"}}),
        ("names the background", {"classes": {1: "a", 2: "a"}}),
        ("scans to learn from", {"train": ["nobody"]}),
        ("has 1 values", {"size": [8]}),
        ("found 'label_none'", {"target": "label_none"}),
    ):
        with pytest.raises(UserError, match=words):
            call("probe", run=run, store=store, **options)


def test_pictures_are_not_drawn_of_scans_with_text_in_their_pixels(cohort, tmp_path, monkeypatch):
    read = Store.read_from

    def marked(folder):
        store = read(folder)
        store.items["burned_in"] = True
        return store

    monkeypatch.setattr(Store, "read_from", marked)
    run = model(tmp_path, *NETWORKS["res_unet"])
    out = call("probe", run=run, store=cohort / "out/store", probes=["dense"], **FEW)
    assert not (out / "dense.png").exists()


@pytest.mark.slow
def test_pretraining_teaches_phantom_anatomy(tmp_path):
    """VoCo and MAE beat their untrained networks with their whole interval; losses fall."""
    summary = json.loads(
        call("run", pipeline="phantom_probe", overrides={"out": tmp_path}).read_text()
    )
    for method, found in summary.items():
        print(method, found["pretrained"]["estimate"], found["untrained"]["estimate"])
        assert found["difference"]["low"] > 0, (method, found)
        assert found["difference"]["n_patients"] >= 6
        rows = [
            json.loads(r) for r in (tmp_path / method / "metrics.jsonl").read_text().splitlines()
        ]
        losses = [r["loss"] for r in rows if "loss" in r]
        tenth = len(losses) // 10
        assert sum(losses[-tenth:]) < 0.7 * sum(losses[:tenth])
