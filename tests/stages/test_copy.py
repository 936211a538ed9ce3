import pytest

from medssl import shipped
from medssl.command_line import load
from medssl.errors import UserError
from medssl.stages.copy import Config, run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def preset():
    verb, names = next(iter(shipped.presets().items()))
    return verb, names[0]


def test_preset_is_copied_under_its_own_name(preset):
    verb, name = preset
    path = run(load(Config, "copy", [f"{verb}/{name}"]))
    assert path.name == f"{name}.yaml"
    assert path.read_bytes() == shipped.preset(verb, name).read_bytes()
    assert shipped.preset(verb, str(path)) == path


def test_preset_is_copied_to_a_name_or_a_folder(preset, tmp_path):
    source = "/".join(preset)
    assert run(load(Config, "copy", [source, "mine.yaml"])).name == "mine.yaml"
    (tmp_path / "presets").mkdir()
    assert run(Config(source=source, to="presets")).parent.name == "presets"


def test_pipeline_is_copied():
    first, second = shipped.pipelines()[:2]
    for name, source in ((first, f"{first}.py"), (second, f"run/{second}")):
        path = run(Config(source=source))
        assert path.read_bytes() == shipped.pipeline(name).read_bytes()


def test_an_existing_file_is_left_as_it_is(preset, tmp_path):
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(UserError, match="EXISTS mine.yaml"):
        run(Config(source="/".join(preset), to="mine.yaml"))
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_name_without_its_verb_is_refused_with_the_full_one(preset):
    with pytest.raises(UserError, match=f"choose one of .*{preset[0]}/{preset[1]}"):
        run(Config(source=preset[1]))


def test_another_suffix_or_a_missing_folder_is_refused(preset, tmp_path):
    with pytest.raises(UserError, match="expected the name of a .yaml file"):
        run(Config(source="/".join(preset), to="mine.py"))
    with pytest.raises(UserError, match="WRITE"):
        run(Config(source="/".join(preset), to="nowhere/mine.yaml"))
    assert not list(tmp_path.iterdir())
