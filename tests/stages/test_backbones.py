import pandas as pd
import pytest

from medssl.backbones.base import BACKBONES
from medssl.errors import UserError
from medssl.interop.exporting import TARGETS
from medssl.stages import backbones, call


def test_rows_are_names_that_can_be_typed_and_causes_say_the_condition(tmp_path, capsys):
    call("backbones", out=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert set(table["target"]) == set(TARGETS)
    assert set(table["network"]) == set(BACKBONES)
    assert (table["taken"] == (table["cause"] == "")).all()
    for words in set(table["form"]) - {""}:
        assert all("=" in word for word in words.split())
    shown = capsys.readouterr().out.splitlines()
    lines = {line.split()[0] + line.split()[1]: line.split()[2:] for line in shown[1:15]}
    assert {line.split()[0] for line in shown[1:15]} == set(BACKBONES)
    monai, nnunet, timm = (list(TARGETS).index(target) for target in ("monai", "nnunet", "timm"))
    assert lines["segresnet3D"][monai] == "yes" and lines["genesis3D"][monai] == "-"
    for name, target in (("res_unet2D", monai), ("resenc3D", nnunet), ("vit2D", timm)):
        assert lines[name][target] == "some"
    assert "timm not of vit 3D: timm has no networks for volumes" in shown
    assert (
        "monai not of res_unet channels=4,8, res_unet blocks=2: "
        "MONAI's DynUNet has one block a level, and three levels or more" in shown
    )
    with pytest.raises(UserError, match="is not in the table"):
        call("backbones", network="lenet")


def test_a_check_compares_features_and_says_what_could_not_be_checked(
    monkeypatch, capsys, tmp_path
):
    left = {name: place for name, place in TARGETS.items() if name not in ("onnx", "nnunet")}
    monkeypatch.setattr("medssl.interop.exporting.TARGETS", left)
    monkeypatch.setattr(backbones, "TARGETS", left)
    call("backbones", network="segresnet", check=True, out=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    tried = table[table["taken"]]
    assert tried["passed"].astype(bool).all() and (tried["difference"] <= 1e-5).all()
    told = capsys.readouterr()
    assert "segresnet norm=batch 3D" in told.out and "segresnet 2D to monai: 0e+00" in told.err
    assert f"{len(tried)} passed on and loaded again; the largest difference is 0.0e+00" in told.out

    def fails(model, to, folder):
        raise UserError("EXPORT", to, "features differ by 1", "report it")

    monkeypatch.setattr(backbones, "export", fails)
    with pytest.raises(UserError, match="could not be checked: EXPORT: features differ"):
        call("backbones", network="genesis", check=True)
    assert "FAILED" in capsys.readouterr().out
