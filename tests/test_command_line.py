"""What words behind a verb, presets and mappings become."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from medssl import command_line, config
from medssl.errors import UserError
from tests.test_config import TABLE, Example


def test_defaults_then_command_line():
    found = command_line.load(
        Example, "nothing", ["here", "optim.lr=1e-3", "optim.betas=0.8,0.9", "flag=true"]
    )
    assert found.store == Path("here")
    assert found.optim.lr == 1e-3 and found.optim.betas == [0.8, 0.9] and found.flag is True


def test_a_single_value_fills_a_list():
    assert command_line.load(Example, "nothing", ["labels=a.csv"]).labels == [Path("a.csv")]


@pytest.mark.parametrize(
    "word, near", [("optim.lrr=1", "optim.lr"), ("stor=x", "store"), ("flagg=true", "flag")]
)
def test_misspelt_key_is_refused_with_the_nearest(word, near):
    with pytest.raises(UserError, match=f"did you mean '{near}'"):
        command_line.load(Example, "nothing", [word])


def test_every_bad_value_is_named_at_once():
    with pytest.raises(UserError) as error:
        command_line.load(Example, "nothing", ["optim.lr=-1", "flag=perhaps"])
    assert (
        "optim.lr" in str(error.value) and "flag" in str(error.value) and "Fix:" in str(error.value)
    )


def test_part_name_and_option_in_either_order():
    for words in (["part=thing", "part.depth=5"], ["part.depth=5", "part=thing"]):
        part = command_line.load(Example, "nothing", words).part
        assert part.name == "thing" and part.options == {"depth": "5"}
    assert (
        command_line.load(Example, "nothing", ["part=a", "part.depth=5", "part=b"]).part.name == "b"
    )


def test_options_of_a_part_without_its_name_are_the_default_s():
    part = command_line.load(Example, "nothing", ["part.depth=5"]).part
    assert part.name == "thing" and part.options == {"depth": "5"}
    assert command_line.of(Example, "nothing", "", {"part": {"depth": 5}}).part == config.Part(
        name="thing", depth=5
    )
    with pytest.raises(UserError, match="did you mean 'part.depth'"):
        command_line.load(Example, "nothing", ["part.dept=5", "part.size=3"], {"part": TABLE})


def test_a_second_preset_is_one_word_too_many():
    with pytest.raises(UserError, match="mae: is one word too many"):
        command_line.load(Example, "pretrain", ["voco", "here", "mae"])


def test_dotted_keys_do_as_nested_ones():
    found = command_line.of(Example, "nothing", values={"optim.lr": 0.5, "optim": {"betas": [0.1]}})
    assert found.optim.betas == [0.1]
    assert command_line.of(Example, "nothing", values={"optim.lr": 0.5}).optim.lr == 0.5
    both = command_line.of(Example, "nothing", values={"part": "thing", "part.size": [1]})
    assert both.part.name == "thing" and both.part.options == {"size": [1]}


def test_keys_that_a_preset_gives_say_which_presets_there_are():
    from medssl.stages import finetune

    with pytest.raises(
        UserError, match="task.size: is required.*name a preset .classification, class"
    ):
        command_line.load(finetune.Config, "finetune", [], finetune.TABLES)


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(UserError, match="CONFIG store=: is empty"):
        command_line.load(Example, "nothing", ["store="])
    assert command_line.load(Example, "nothing", ["labels="]).labels == []


@pytest.mark.parametrize("words", [["optim=1", "optim.lr=2"], ["optim=none", "optim.lr=2"]])
def test_a_key_of_what_is_no_group_is_told(words):
    with pytest.raises(UserError, match="CONFIG optim"):
        command_line.load(Example, "nothing", words)


def test_none_is_a_word_where_it_can_be_chosen():
    assert command_line.load(Example, "nothing", ["which=none"]).which == "none"
    with pytest.raises(UserError, match="CONFIG flag"):
        command_line.load(Example, "nothing", ["flag=none"])


class Before(config.Config):
    positional: ClassVar = ("verb",)
    rest: ClassVar = "command"
    verb: str = Field(description="which")
    command: list[str] = Field([], description="its words")
    flag: bool = Field(False, description="yes or no")


def test_words_behind_the_positional_ones_are_left_as_they_stand():
    words = ["--flag", "pretrain", "voco", "flag=false", "--resume", "a.b=[1, 2]", "verb=other"]
    found = command_line.load(Before, "nothing", words)
    assert (found.flag, found.verb, found.command) == (True, "pretrain", words[2:])
    assert command_line.load(Before, "nothing", ["run"]).command == []
    with pytest.raises(UserError, match="without dashes"):
        command_line.load(Before, "nothing", ["--command", "x"])


class Several(config.Config):
    positional: ClassVar = ("first", "rest")
    first: str = Field("", description="one")
    rest: list[Path] = Field([], description="all that is left")


def test_a_list_that_is_the_last_positional_key_takes_all_words_that_are_left():
    found = command_line.load(Several, "nothing", ["a", "b", "c,d", "e/f"])
    assert found.first == "a" and found.rest == [Path("b"), Path("c"), Path("d"), Path("e/f")]
    found = command_line.load(Several, "nothing", ["a", "rest=b", "c"])
    assert found.rest == [Path("b"), Path("c")]
    assert command_line.takes_many(Several, "rest") and not command_line.takes_many(
        Several, "first"
    )
