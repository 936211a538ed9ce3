import json

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from medssl import command_line, shipped
from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.interop.exporting import target
from medssl.interop.model import Model
from medssl.stages import call
from medssl.training.checkpoint import load_weights, read_card
from tests.interop import published
from tests.stages.conftest import FIT

SMALL = {"name": "res_unet", "channels": [4, 8]}


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(5)
    backbone = build("res_unet", in_channels=1, channels=[4, 8])
    state = {f"module.encoder.{k}": v for k, v in backbone.state_dict().items()}
    torch.save(
        {"state_dict": {**state, "module.head.weight": torch.ones(3)}}, tmp_path / "w.pth.tar"
    )
    return tmp_path / "w.pth.tar"


def test_what_was_taken_over_starts_pretraining_and_fine_tuning(cohort, file, tmp_path, capsys):
    store = cohort / "out/store"
    model = call("import", weights=file, out=tmp_path / "m", backbone=SMALL, store=store)
    assert "100.00% of" in capsys.readouterr().err
    card = read_card(model)
    prepared = json.loads((store / "store.json").read_text())["recipe"]
    assert card["kind"] == "imported" and card["recipe"] == prepared
    assert card["source"]["file"] == "w.pth.tar" and card["ledger"]["share"] == 1.0
    for part in ("start", "backbone"):
        run = tmp_path / part
        if part == "start":
            call("pretrain", "voco_small", store=store, start=model, out=run,
                 method={"size": [8, 8, 8], "width": 16}, fit={**FIT, "steps": 1, "every": 1})  # fmt: skip
            assert read_card(run)["parent"]["weights_sha256"] == card["weights_sha256"]
        else:
            call("finetune", "few_labels", store=store, backbone=model, out=run, classes={1: "ball"},
                 task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1, "every": 1})  # fmt: skip
            assert read_card(run)["start"] == "imported from w.pth.tar"
    assert "another recipe" not in capsys.readouterr().err


def test_the_ledger_is_kept_and_complete(file, tmp_path):
    model = call("import", weights=file, out=tmp_path / "m", backbone=SMALL)
    table = pd.read_csv(model / "ledger.csv", keep_default_na=False)
    whole = json.loads((model / "ledger.json").read_text())
    assert table.to_dict("records") == [
        {**row, "parameters": row["parameters"]} for row in whole["tensors"]
    ]
    source = torch.load(file, weights_only=True)["state_dict"]
    assert sorted(table["in_file"]) == sorted(f"state_dict.{key}" for key in source)
    assert (table["status"] == "loaded").sum() == len(source) - 1
    skipped = table[table["status"] == "skipped"].iloc[0]
    assert skipped["in_file"] == "state_dict.module.head.weight" and "not behind" in skipped["how"]
    backbone = build("res_unet", in_channels=1, channels=[4, 8])
    load_weights(model, backbone, "backbone")
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, source[f"module.encoder.{key}"])


def test_less_than_the_encoder_is_an_error_unless_it_is_asked_for(file, tmp_path):
    deeper = {"name": "res_unet", "channels": [4, 8, 8]}
    with pytest.raises(
        UserError, match=r"fills \d\d.\d% of the encoder.*least=0.95.*stages.2"
    ) as error:
        call("import", weights=file, out=tmp_path / "m", backbone=deeper)
    assert "least=0." in error.value.fix and not (tmp_path / "m").exists()
    model = call("import", weights=file, out=tmp_path / "m", backbone=deeper, least=0.1)
    assert "were not in the file, and are random" in (model / "card.md").read_text()


def test_another_width_says_both_shapes(file, tmp_path):
    with pytest.raises(UserError) as error:
        call("import", weights=file, out=tmp_path / "m", backbone={**SMALL, "channels": [6, 12]})
    assert "4x1x3x3x3 in the file, 6x1x3x3x3 here" in str(error.value)
    assert "options" in error.value.fix


def test_axes_that_were_turned_round_are_turned_back(tmp_path):
    backbone = build("res_unet", in_channels=1, channels=[4, 8])
    state = {
        k: v.permute(0, 1, 4, 3, 2).contiguous() if v.ndim == 5 else v
        for k, v in backbone.state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    model = call(
        "import", weights=tmp_path / "w.safetensors", out=tmp_path / "m", backbone=SMALL, axes="zyx"
    )
    again = build("res_unet", in_channels=1, channels=[4, 8])
    load_weights(model, again, "backbone")
    pairs = zip(backbone.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_values_are_folded_into_the_first_layer_where_that_is_exact(tmp_path):
    vit = {"name": "vit", "patch": 8, "width": 24, "depth": 1}
    state = build("vit", in_channels=1, patch=8, width=24, depth=1).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    keys = {"weights": tmp_path / "w.safetensors", "backbone": vit, "range": [0, 1]}
    with pytest.raises(UserError, match="z-scored have no lowest"):
        call("import", **keys, out=tmp_path / "m")
    with pytest.raises(UserError, match="no lowest and highest"):
        call("import", **{**keys, "range": [1, 0]}, out=tmp_path / "m")
    model = call("import", **keys, out=tmp_path / "m", recipe={"intensity": "hu"})
    again = build("vit", in_channels=1, patch=8, width=24, depth=1)
    load_weights(model, again, "backbone")
    assert torch.allclose(again.embed.weight, state["embed.weight"] / 2)
    assert "folded to -1..1" in (model / "ledger.csv").read_text()


def test_only_weights_are_taken_from_a_folder_and_no_code_or_config(tmp_path):
    canary = tmp_path / "canary"
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "modeling.py").write_text(f"open({str(canary)!r}, 'w')")
    config = {"auto_map": {"AutoModel": "modeling.Net"}, "_target_": "os.system", "library": "medssl",
              "backbone": "modeling:Net", "options": {"$expr": f"open({str(canary)!r}, 'w')"}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        build("res_unet", in_channels=1, channels=[4, 8]).state_dict(), folder / "model.safetensors"
    )
    model = call("import", weights=folder, out=tmp_path / "m", backbone=SMALL)
    assert not canary.exists() and read_card(model)["backbone"]["name"] == "res_unet"


@pytest.fixture
def exported(tmp_path):
    """A folder as `medssl export to=torch` makes it."""
    options = {"channels": [4, 8, 8], "ndim": 2}
    torch.manual_seed(5)
    backbone = build("res_unet", in_channels=3, **options)
    card = {"recipe": {"spacing": [1, 1], "intensity": "percentile"}, "image_size": [32, 64],
            "licence": "apache-2.0"}  # fmt: skip
    folder = tmp_path / "exported"
    folder.mkdir()
    target("torch").write(Model(backbone, "res_unet", options, (32, 64), card, ""), folder)
    return folder


def test_an_exported_folder_says_what_it_is_of(exported, tmp_path, capsys):
    for weights in (exported, exported / "model.safetensors"):
        model = call("import", weights=weights, out=tmp_path / weights.name / "m")
        card = read_card(model)
        network = {
            "name": "res_unet",
            "options": {"in_channels": 3, "channels": [4, 8, 8], "ndim": 2},
        }
        assert card["backbone"] == network and card["ledger"]["loaded"] > 0
        assert card["ledger"]["share"] == 1 and card["ledger"]["adapted"] == 0
        assert card["recipe"]["spacing"] == [1, 1] and card["recipe"]["intensity"] == "percentile"
        assert card["image_size"] == [32, 64] and card["licence"] == "apache-2.0"
    assert "res_unet, as it was exported" in capsys.readouterr().err


def test_what_is_asked_for_goes_before_what_an_exported_folder_says(exported, tmp_path):
    keys = {"in_channels": 1, "licence": "mit", "recipe": {"intensity": "zscore"}}
    card = read_card(call("import", weights=exported, out=tmp_path / "m", **keys))
    assert card["backbone"]["options"]["in_channels"] == 1 and card["licence"] == "mit"
    assert card["recipe"]["intensity"] == "zscore" and card["image_size"] == [32, 64]
    other = {"name": "res_unet", "channels": [4, 8], "ndim": 2}
    card = read_card(call("import", weights=exported, out=tmp_path / "n", backbone=other))
    assert card["backbone"]["options"]["channels"] == [4, 8] and card["licence"] == ""


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"backbone": "modeling:Net"}, "no network of the table"),
        ({"backbone": ["res_unet"]}, "no network of the table"),
        ({"options": "channels"}, "no network of the table"),
        ({"options": {"name": "modeling:Net", "chanels": [4, 8]}}, "backbone.chanels: unknown key"),
        ({"preprocessing": {"intensity": "loud"}}, "recipe.intensity"),
    ],
)
def test_a_config_of_a_stranger_is_checked_and_imports_nothing(exported, tmp_path, changed, words):
    canary = tmp_path / "canary"
    (tmp_path / "modeling.py").write_text(f"open({str(canary)!r}, 'w')")
    said = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps({**said, **changed}))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match=words) as error:
        patch.chdir(tmp_path)
        call("import", weights=exported, out=tmp_path / "m")
    assert error.value.code == "WEIGHTS" and not canary.exists() and not (tmp_path / "m").exists()


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"library": "timm"}', "[1]"])
def test_a_config_that_is_not_ours_says_nothing(exported, tmp_path, text):
    (exported / "config.json").write_text(text)
    with pytest.raises(UserError, match="none of its .* tensors fits"):
        call("import", weights=exported, out=tmp_path / "m")
    network = {"name": "res_unet", "channels": [4, 8, 8], "ndim": 2}
    call("import", weights=exported, out=tmp_path / "m", backbone=network, in_channels=3)


def test_what_is_there_is_never_written_over(file, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        call("import", weights=file, out=tmp_path / "m", backbone=SMALL)
    assert (tmp_path / "m/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("w.pth", None, "there is no such file"),
        ("w.h5", b"x", "no kind of weight file"),
        ("w.safetensors", b"\x08\0\0\0\0\0\0\0{}xxxxxx", "no readable safetensors file"),
        ("w.pth", b"not a pickle", "is a text file, and no weights; nothing of it was read or run"),
        ("w.pt", b"", "is empty; nothing of it was read or run"),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        call("import", weights=tmp_path / name, out=tmp_path / "m", backbone=SMALL)
    assert error.value.code == "WEIGHTS" and name in error.value.where


@pytest.mark.parametrize("name", shipped.presets()["import"])
def test_presets_name_networks_that_build_and_sizes_that_fit(name):
    import importlib

    stage = importlib.import_module("medssl.stages.import")
    settings = command_line.of(stage.Config, "import", name, {"weights": "w.pt"})
    options = settings.backbone.check(stage.BACKBONES, "backbone")
    backbone = build(settings.backbone.name, in_channels=1, **options)
    fits = [s % d == 0 for s, d in zip(settings.size, backbone.divisor, strict=True)]
    assert all(fits) and settings.recipe.value_range


# The name that a preset's file has, and what is in it.
PUBLISHED = {
    "voco": ("VoCo_B_SSL_head.pt", published.voco),
    "swin_unetr_ssl": ("model_swinvit.pt", published.ssl_swin),
    "nnssl": ("checkpoint_final.pth", published.nnssl),
    "ct_fm": ("pytorch_model.bin", published.ct_fm),
    "medicalnet": ("resnet_50_23dataset.pth", published.medicalnet),
    "models_genesis": ("Genesis_Chest_CT.pt", published.genesis),
    "radimagenet": ("ResNet50.pt", published.radimagenet),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped.presets()["import"])
def test_published_weights_in_their_real_size_fill_the_preset_s_network(name, tmp_path):
    file, made = PUBLISHED[name]
    torch.save(made(full=True), tmp_path / file)
    model = call("import", name, weights=tmp_path / file, out=tmp_path / "m")
    ledger = json.loads((model / "ledger.json").read_text())
    assert ledger["share"] == 1.0 and ledger["missing"] == 0
