import pytest

from medssl import shipped
from medssl.errors import UserError
from medssl.stages.presets import Config, description, run


def test_lists_all_presets_and_pipelines_with_a_description(capsys):
    run(Config())
    lines = capsys.readouterr().out.splitlines()
    expected = {(verb, name) for verb, names in shipped.presets().items() for name in names}
    expected |= {("run", name) for name in shipped.pipelines()}
    assert {tuple(line.split()[:2]) for line in lines} == expected
    assert all(len(line.split()) > 2 for line in lines), "a preset without its first comment line"


def test_lists_one_verb(capsys):
    run(Config(verb="pretrain"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == shipped.presets()["pretrain"]


def test_unknown_verb_is_refused():
    with pytest.raises(UserError, match="choose one of .*pretrain"):
        run(Config(verb="pretrian"))


@pytest.mark.parametrize(
    "name, text, found",
    [
        ("a.yaml", "# Two words.\n# more\nkey: 1\n", "Two words."),
        ("a.yaml", "key: 1  # not first\n", ""),
        ("a.py", '"""First: line\n\nMore."""\n', "First: line"),
        ("a.py", "x = 1\n", ""),
    ],
)
def test_description(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    assert description(tmp_path / name) == found
