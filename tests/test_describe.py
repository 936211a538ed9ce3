import importlib
import shlex
from pathlib import Path

import pytest
from pydantic import Field

from medssl import command_line, config, shipped
from medssl.describe import command, describe, paths_of, script, shareable, words


class Group(config.Keys):
    lr: float = Field(0.1, description="rate")
    share: float = Field(0.5, description="of all", gt=0, le=1)


class Example(config.Config):
    store: Path = Field(description="where")
    labels: list[Path] = Field([], description="tables")
    sizes: list[config.Count] = Field([], description="sides")
    part: config.Part = config.Part(name="plain")
    group: Group = Group()


def test_describe_opens_groups_and_takes_a_preset_s_values():
    rows = {row[0]: row for row in describe(Example, values={"group": {"lr": 0.5}})}
    assert rows["group.lr"] == ("group.lr", "number", "0.5", "rate")
    assert rows["group.share"][1] == "number > 0, <= 1"
    assert rows["sizes"][1] == "list of int >= 1"
    assert rows["labels"][1:3] == ("list of path", "none")
    assert rows["store"][2] == "required"


def test_words_ask_for_the_same_config_and_name_no_folder_above():
    asked = Example(
        store="/home/somebody/my store", part={"name": "other", "depth": 3}, group={"lr": 0.2}
    )
    found = words(Example, asked.model_dump(mode="json"))
    assert found == ["store='my store'", "part=other", "part.depth=3", "group.lr=0.2"]
    again = command_line.load(Example, "nothing", [w.replace("'", "") for w in found])
    assert again.group == asked.group and again.part.name == "other"
    assert words(Example, {"store": "s", "labels": ["/a/b", "c"]}) == ["store=s", "labels=b,c"]


def test_a_mapping_of_more_than_texts_is_given_in_one_piece():
    stage = importlib.import_module("medssl.stages.study")
    arms = {"SparK, crops": {"pretrain": ["spark_small"], "keys": {"store": "crops"}}}
    asked = {"arms": arms, "finetune": {"fit": {"steps": 80}}, "trials": [{"optim": {"lr": 0.004}}]}
    values = command_line.of(stage.Config, "study", "", asked).model_dump(mode="json")
    _, said = command(stage.Config, "study", values)
    again = command_line.load(stage.Config, "study", [shlex.split(word)[0] for word in said])
    assert again.model_dump(mode="json") == values


def test_words_give_whole_paths_where_they_stay_here_and_differ_from_what_is_given():
    values = {"store": "/home/me/s", "labels": [], "group": {"lr": 0.2}}
    assert words(Example, values, shared=False) == ["store=/home/me/s", "group.lr=0.2"]
    base = {"store": "/home/me/s", "labels": ["a"], "group": {"lr": 0.2}}
    assert words(Example, values, base) == ["labels=''"]


@pytest.mark.parametrize(
    "verb, preset",
    [(v, p) for v in ("pretrain", "finetune") for p in shipped.presets(v)[v]],
)
def test_a_command_gives_the_config_of_every_preset_again(verb, preset):
    stage = importlib.import_module(f"medssl.stages.{verb}")
    asked = {"store": "/a/my store", "out": "/r", "fit": {"steps": 7}}
    values = config.checked_parts(command_line.of(stage.Config, verb, preset, asked), stage.TABLES)
    values = {**values.model_dump(mode="json"), "scans": {"noted": "beside it"}}
    found, said = command(stage.Config, verb, values, stage.TABLES)
    given = [w.replace("'", "") for w in said]
    again = command_line.load(
        stage.Config, verb, [w for w in [found, *given, "out=/r"] if w], stage.TABLES
    )
    again = config.checked_parts(again, stage.TABLES).model_dump(mode="json")
    assert {**again, "scans": values["scans"]} == values
    assert len(said) <= 2  # the store, and the steps where another preset has not as many


def test_of_a_config_that_no_words_give_there_is_no_command():
    stage = importlib.import_module("medssl.stages.finetune")
    values = command_line.of(stage.Config, "finetune", "segmentation").model_dump(mode="json")
    values["task"]["colour"] = "red"
    assert command(stage.Config, "finetune", values, stage.TABLES) is None


def test_two_folders_of_one_name_are_told_apart_by_the_one_above():
    values = {
        "store": "/home/me/covid/store",
        "labels": ["/x/a.csv"],
        "part": {"s": "/y/luna/store"},
    }
    beside = paths_of(Example, values)
    assert shareable(Example, values, beside) == {
        "store": "covid/store", "labels": ["a.csv"], "part": {"s": "luna/store"}
    }  # fmt: skip
    assert words(Example, {"store": "/y/luna/store"}, {}, beside=beside) == ["store=luna/store"]


def test_a_script_tells_a_folder_apart_from_one_that_is_the_default():
    class Study(config.Config):
        store: Path = Field(Path("store"), description="where")
        part: dict = Field({}, description="other folders")

    assert "part: {s: luna/store}" in script("study", Study(part={"s": "/y/luna/store"}))[1]


def test_what_is_shared_names_no_folder():
    values = {"store": "/home/me/s", "labels": ["/x/a.csv", "b.csv"], "part": {"w": "/x/w.pt"}}
    assert shareable(Example, values) == {
        "store": "s", "labels": ["a.csv", "b.csv"], "part": {"w": "w.pt"}
    }  # fmt: skip
