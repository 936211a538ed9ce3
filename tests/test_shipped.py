import pytest

from medssl import shipped, yaml_file
from medssl.errors import UserError


def test_every_preset_is_listed_and_readable():
    listed = shipped.presets()
    assert {(p.parent.name, p.stem) for p in shipped.folder("configs").rglob("*.yaml")} == {
        (verb, name) for verb, names in listed.items() for name in names
    }
    for verb, names in listed.items():
        for name in names:
            assert yaml_file.read_yaml(shipped.preset(verb, name))


def test_presets_of_one_verb():
    verb = next(iter(shipped.presets()))
    assert shipped.presets(verb) == {verb: shipped.presets()[verb]}
    assert shipped.presets("doctor") == {}


def test_path_of_a_yaml_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: 1")
    assert shipped.preset("pretrain", str(path)) == path
    with pytest.raises(UserError, match="no such file"):
        shipped.preset("pretrain", str(tmp_path / "other.yaml"))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """An installation of two presets and one pipeline, as in a wheel."""
    for file in (
        "configs/pretrain/voco.yaml",
        "configs/prepare/ct_body.yaml",
        "pipelines/whole.py",
    ):
        path = tmp_path / "medssl/_shipped" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# first line\n")
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "medssl")
    return tmp_path


def test_wheel_layout(tree):
    assert shipped.presets() == {"prepare": ["ct_body"], "pretrain": ["voco"]}
    assert shipped.preset("pretrain", "voco").read_text() == "# first line\n"
    assert shipped.pipelines() == ["whole"]
    assert shipped.pipeline("whole").is_file()


@pytest.mark.parametrize(
    "verb, name, told",
    [
        ("pretrain", "vocoo", "nearest: voco"),
        ("pretrain", "ct_body", "belongs to prepare"),
        ("pretrain", "../prepare/ct_body", "choose one of voco"),
        ("doctor", "voco", "has no presets"),
    ],
)
def test_missing_preset_says_what_there_is(tree, verb, name, told):
    with pytest.raises(UserError, match=told) as error:
        shipped.preset(verb, name)
    assert error.value.code == "CONFIG"


def test_missing_pipeline_says_what_there_is(tree):
    with pytest.raises(UserError, match="nearest: whole"):
        shipped.pipeline("whol")


def test_broken_installation_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "medssl")
    with pytest.raises(UserError, match="INSTALL"):
        shipped.folder("configs")
