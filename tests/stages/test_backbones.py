import pandas as pd
import pytest

from medssl.backbones.base import BACKBONES
from medssl.errors import UserError
from medssl.interop.exporting import TARGETS
from medssl.stages import backbones, call


def test_the_table_has_every_network_and_target_and_says_why_not(tmp_path, capsys):
    call("backbones", out=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert set(table["target"]) == set(TARGETS)
    assert set(table["network"]) == set(backbones.NETWORKS)
    assert (table["taken"] == (table["cause"] == "")).all()
    shown = capsys.readouterr().out
    assert "timm has no networks for volumes" in shown and "resenc 3D" in shown
    assert all(name in shown for name in BACKBONES)
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
    assert "0e+00" in capsys.readouterr().out

    def fails(model, to, folder):
        raise UserError("EXPORT", to, "features differ by 1", "report it")

    monkeypatch.setattr(backbones, "export", fails)
    with pytest.raises(UserError, match="could not be checked: EXPORT: features differ"):
        call("backbones", network="segresnet", check=True)
