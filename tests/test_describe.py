from pathlib import Path

from pydantic import Field

from medssl import config
from medssl.describe import describe, shareable, words


class Group(config.Keys):
    lr: float = Field(0.1, description="rate")


class Example(config.Config):
    store: Path = Field(description="where")
    labels: list[Path] = Field([], description="tables")
    part: config.Part = config.Part(name="plain")
    group: Group = Group()


def test_describe_opens_groups_and_takes_a_preset_s_values():
    rows = {row[0]: row for row in describe(Example, values={"group": {"lr": 0.5}})}
    assert rows["group.lr"] == ("group.lr", "number", "0.5", "rate")
    assert rows["labels"][1:3] == ("list of path", "none")
    assert rows["store"][2] == "required"


def test_words_ask_for_the_same_config_and_name_no_folder_above():
    asked = Example(
        store="/home/somebody/my store", part={"name": "other", "depth": 3}, group={"lr": 0.2}
    )
    found = words(Example, asked.model_dump(mode="json"))
    assert found == ["store='my store'", "part=other", "part.depth=3", "group.lr=0.2"]
    again = config.load(Example, "nothing", [w.replace("'", "") for w in found])
    assert again.group == asked.group and again.part.name == "other"
    assert words(Example, {"store": "s", "labels": ["/a/b", "c"]}) == ["store=s", "labels=b,c"]


def test_what_is_shared_names_no_folder():
    values = {"store": "/home/me/s", "labels": ["/x/a.csv", "b.csv"], "part": {"w": "/x/w.pt"}}
    assert shareable(Example, values) == {
        "store": "s", "labels": ["a.csv", "b.csv"], "part": {"w": "w.pt"}
    }  # fmt: skip
