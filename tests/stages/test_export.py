import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import load_weights, read_card, save_model


def test_a_pretrained_backbone_travels_and_comes_back(segmented, tmp_path, capsys):
    run = segmented / "voco"
    for to in ("torch", "hub"):
        out = call("export", run=run, to=to, out=tmp_path / to)
        assert out == tmp_path / to
    assert "strictly loaded again for hub" in capsys.readouterr().err
    before = read_card(run)
    back = call("import", weights=tmp_path / "hub", out=tmp_path / "back")
    assert read_card(back)["recipe"] == before["recipe"]
    nets = []
    for folder, card in ((run, before), (back, read_card(back))):
        nets.append(build(card["backbone"]["name"], **card["backbone"]["options"]))
        load_weights(folder, nets[-1], "backbone")
    pairs = zip(nets[0].parameters(), nets[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_passed_on_names_no_patient_and_says_how_many_there_were(segmented, tmp_path):
    run = segmented / "voco"
    call("export", run=run, to="hub", out=tmp_path / "hub", licence="apache-2.0")
    card = json.loads((tmp_path / "hub/card.json").read_text())
    seen = read_card(run)
    assert not {"patients", "scans", "pixels", "looks", "patient_key"} & set(card)
    everything = "".join(
        p.read_text() for p in (tmp_path / "hub").iterdir() if p.suffix in (".json", ".md")
    )
    for kept in ("patients", "scans"):
        ids = [i for part in seen[kept].values() for i in part]
        assert ids and not any(i in everything for i in ids)
    assert card["counts"]["pretrain"] == {"scans": 6, "patients": 3, "modalities": {"MR": 6}}
    assert card["licence"] == "apache-2.0" and card["cohort"] == seen["cohort"]
    text = (tmp_path / "hub/README.md").read_text()
    assert "license: apache-2.0" in text and "| pretrain | 6 | 3 | MR 6 |" in text
    assert "Known limits" in text and "cohort of 3 patients" in text


def test_the_figures_of_a_run_go_along_with_their_intervals(segmented, tmp_path, capsys):
    call("export", run=segmented / "tuned", to="torch", out=tmp_path / "t")
    assert "the head stays" in capsys.readouterr().err
    text = (tmp_path / "t/README.md").read_text()
    assert "| test dice, ball |" in text and "95 % interval" in text


def test_out_is_in_the_run_if_it_is_not_given_and_never_written_over(segmented, tmp_path):
    save_model(tmp_path / "run/model", *_model("segresnet", {"width": 4, "blocks": [1, 1]}))
    out = call("export", run=tmp_path / "run", to="monai")
    assert out == tmp_path / "run/export/monai"
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UserError, match="is there already"):
        call("export", run=tmp_path / "run", to="monai")
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def _model(name, options):
    backbone = build(name, in_channels=1, **options)
    card = {
        "kind": "pretrained", "backbone": {"name": name, "options": {"in_channels": 1, **options}},
        "recipe": {}, "patients": {}, "scans": {}, "config": {}, "steps": 1,
    }  # fmt: skip
    return {"backbone": backbone}, card


def test_a_refusal_leaves_nothing(tmp_path):
    save_model(tmp_path / "m", *_model("genesis", {"width": 2, "levels": 2}))
    with pytest.raises(
        UserError, match="MONAI has no such network.*choose one of hub, torch, onnx"
    ):
        call("export", run=tmp_path / "m", to="monai", out=tmp_path / "o")
    with pytest.raises(UserError, match="multiples of 2, 2, 2"):
        call("export", run=tmp_path / "m", to="torch", out=tmp_path / "o", size=[3, 3, 3])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_timm_loads_its_own_by_its_own_call(tmp_path):
    options = {"model": "test_resnet"}
    modules, card = _model("timm", options)
    save_model(tmp_path / "m", modules, card)
    out = call("export", run=tmp_path / "m", to="timm", out=tmp_path / "o", size=[64, 64])
    import timm  # medssl makes it importable first

    net = timm.create_model(f"local-dir:{out}", pretrained=True)
    state = modules["backbone"].net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    shown = json.loads((out / "config.json").read_text())
    assert shown["architecture"] == "test_resnet"
    assert shown["pretrained_cfg"]["input_size"] == [1, 64, 64]


def test_rot_is_found_before_anything_travels(tmp_path):
    save_model(tmp_path / "m", *_model("segresnet", {"width": 4, "blocks": [1, 1]}))
    path = tmp_path / "m/weights.safetensors"
    state = load_file(path)
    next(iter(state.values())).view(-1)[0] += 1
    save_file(state, path)
    with pytest.raises(UserError, match="checksum differs"):
        call("export", run=tmp_path / "m", to="torch", out=tmp_path / "o")
    assert not (tmp_path / "o").exists()
