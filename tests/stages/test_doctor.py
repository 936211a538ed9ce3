import shlex
import sys

import pytest
import torch
from packaging.requirements import Requirement

from medssl.errors import UserError
from medssl.stages import doctor


def library(text: str, version: str | None, extra: str = "") -> doctor.Library:
    return doctor.Library(Requirement(text), extra, version)


def declare(monkeypatch, *libraries, python=">=3.11"):
    monkeypatch.setattr(doctor, "declared", lambda: (doctor.SpecifierSet(python), list(libraries)))


def test_healthy_installation_is_told_in_full(capsys, tmp_path):
    assert doctor.run(doctor.Config(folder=tmp_path / "not" / "there")) is None
    out = capsys.readouterr().out
    for word in ("torch", "cpu", "OMP_WAIT_POLICY", "GiB free", "JPEG 2000", "RLE Lossless"):
        assert word in out
    assert "NOT OK" not in out and "Nothing that medssl needs is missing." in out


def test_declared_packages_come_from_the_project():
    python, libraries = doctor.declared()
    assert "3.11.0" in python and "3.10.9" not in python
    by_name = {found.requirement.name: found for found in libraries}
    assert by_name["torch"].extra == "" and by_name["torch"].fits
    assert by_name["pylibjpeg"].extra == "dicom" and by_name["pytest"].extra == "dev"


@pytest.mark.parametrize(
    "version, fits",
    [("2.8.0", True), ("2.9.1", False), ("2.13.0+cpu", True), ("2.11.0a1", True), (None, False)],
)
def test_versions_against_the_range_of_torch(version, fits):
    assert library("torch>=2.8,!=2.9.*", version).fits is fits


def test_missing_and_old_packages_end_with_the_command_that_mends_it(monkeypatch, capsys):
    declare(monkeypatch, library("timm>=1.0", "0.9"), library("absent>=2,!=2.5", None))
    with pytest.raises(UserError, match="INSTALL timm, absent") as error:
        doctor.run(doctor.Config())
    words = shlex.split(error.value.fix)
    assert words[:4] == ["python", "-m", "pip", "install"]
    assert "timm>=1.0" in words and "absent!=2.5,>=2" in words
    assert "NOT OK, needs >=1.0" in capsys.readouterr().out


def test_a_missing_extra_is_told_and_not_an_error(monkeypatch, capsys):
    declare(monkeypatch, library("absent>=1", None, "ann"), library("numpy>=1", "2.0", "ann"))
    doctor.run(doctor.Config())
    out = capsys.readouterr().out
    assert "1 of 2" in out and "'absent>=1'" in out


def test_wrong_python_is_an_error(monkeypatch):
    declare(monkeypatch, python=">=4")
    with pytest.raises(UserError, match="needs >=4"):
        doctor.run(doctor.Config())


@pytest.mark.parametrize("found", ["2.0.0", None])
def test_torch_stays_what_it_is(monkeypatch, tmp_path, found):
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(doctor, "_version", lambda name: found)
    command = doctor.pip_command([Requirement("timm>=1")])
    assert ("torch==2.0.0" in command, "-c" in command) == (
        (True, False) if found else (False, True)
    )
    assert "torch==" not in doctor.pip_command([Requirement("torch>=2.8")])


def test_without_torch_the_rest_is_still_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert ("import torch", "fails") in [row[:2] for row in doctor.imports()]
    assert doctor.devices()[0][0] == "cpu" and doctor.devices()[-1][1] == "unknown"
    assert doctor.threads()[-1][1] == "unknown"
    with pytest.raises(UserError, match="INSTALL import torch: .*cannot be imported"):
        doctor.run(doctor.Config())


def test_syntax_without_a_decoder_is_told(monkeypatch):
    from pydicom.pixels.decoders import JPEG2000Decoder

    monkeypatch.setattr(JPEG2000Decoder, "_available", {})
    rows = {row[0]: row for row in doctor.transfer_syntaxes()}
    assert rows["JPEG 2000 Image Compression"][1] == "no"
    assert rows["RLE Lossless"][1] == "yes"
    assert not any("MPEG2" in name for name in rows)


@pytest.mark.parametrize(
    "found, word", [({"bf16": True}, "bf16-mixed is faster"), ({"bf16": False}, "leave")]
)
def test_whether_the_cpu_has_bfloat16_is_told(found, word, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    told = {name: remark for name, _, remark in doctor.devices()}
    assert word in told["cpu, bfloat16"]
