import sys
from pathlib import Path

import pytest

from medssl import shipped
from medssl.command_line import load
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages import run as stage

PIPELINE = """
import json
from dataclasses import dataclass
from pathlib import Path

import neighbour

@dataclass
class Seen:
    values: list

def main(out, steps=10, rate=1e-3, dry: bool = False, sizes=(1, 2), note=None):
    seen = Seen([steps, rate, dry, list(sizes), note, neighbour.word])
    Path(out).write_text(json.dumps(seen.values))
    return out
"""


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "neighbour.py").write_text("word = 'beside'")
    path = tmp_path / "mine.py"
    path.write_text(PIPELINE)
    return path


def run(*words):
    return stage.run(load(stage.Config, "run", [str(word) for word in words]))


def test_own_pipeline_runs_with_converted_keys(pipeline, tmp_path):
    out = tmp_path / "out.json"
    words = ["steps=20", "rate=0.5", "dry=true", "sizes=3,4", "note=a b"]
    assert run(pipeline, f"out={out}", *words) == out
    assert out.read_text() == '[20, 0.5, true, [3, 4], "a b", "beside"]'


def test_defaults_and_values_that_are_no_text_are_left_alone(pipeline, tmp_path):
    out = tmp_path / "out.json"
    before = list(sys.path)
    assert stage.run(stage.Config(pipeline=str(pipeline), overrides={"out": Path(out)})) == out
    assert out.read_text() == '[10, 0.001, false, [1, 2], null, "beside"]'
    assert sys.path == before


def test_a_notebook_gives_the_keys_as_the_command_line_does(pipeline, tmp_path):
    out = tmp_path / "out.json"
    assert call("run", pipeline=str(pipeline), out=out, steps=20, overrides={"note": "a"}) == out
    assert out.read_text() == '[20, 0.001, false, [1, 2], "a", "beside"]'


@pytest.mark.parametrize(
    "words, told",
    [
        (["out=x", "stepz=3"], r"stepz: unknown key \(nearest: steps\)"),
        (["steps=3"], "out is required"),
        (["out=x", "steps=ten"], "steps=ten: .*integer"),
    ],
)
def test_wrong_keys_are_refused_before_anything_runs(pipeline, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told) as error:
        run(pipeline, *words)
    assert "its keys: out steps=10" in str(error.value)
    assert not (tmp_path / "x").exists()


def test_any_key_is_passed_on_to_a_main_that_takes_any(tmp_path):
    path = tmp_path / "any.py"
    path.write_text("def main(**keys):\n    return keys['where']\n")
    assert run(path, "where=there") == Path("there")


def test_file_without_main_and_missing_pipeline_are_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("main = 3\n")
    with pytest.raises(UserError, match="no function main"):
        run(path)
    with pytest.raises(UserError, match="no such pipeline"):
        run(tmp_path / "absent.py")


def test_an_error_of_the_pipeline_comes_through(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def main():\n    raise ZeroDivisionError('theirs')\n")
    with pytest.raises(ZeroDivisionError, match="theirs"):
        run(path)


@pytest.mark.parametrize("name", shipped.pipelines())
def test_shipped_pipelines_check_their_keys(name):
    with pytest.raises(UserError, match="no_such_key: unknown key"):
        run(name, "no_such_key=1")
