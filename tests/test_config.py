from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from medssl import config
from medssl.errors import UserError


class Inner(config.Keys):
    lr: float = Field(0.1, description="rate", gt=0)
    betas: list[float] = Field([0.9, 0.95], description="betas")


class Example(config.Config):
    """A stage with one of everything."""

    positional: ClassVar = ("store",)
    store: Path = Field(Path("store"), description="where")
    labels: list[Path] = Field([], description="many")
    optim: Inner = Field(Inner(), description="how")
    part: config.Part = Field(config.Part(name="thing"), description="which")
    flag: bool = Field(False, description="yes or no")
    which: Literal["some", "none"] = Field("some", description="a choice")


class Thing:
    def __init__(
        self, given, *, size: Annotated[list[int], "voxels"], depth: Annotated[int, "n"] = 2
    ):
        self.given, self.size, self.depth = given, size, depth


TABLE = {"thing": f"{__name__}:Thing"}


def test_defaults_then_command_line():
    found = config.load(
        Example, "nothing", ["here", "optim.lr=1e-3", "optim.betas=0.8,0.9", "flag=true"]
    )
    assert found.store == Path("here")
    assert found.optim.lr == 1e-3 and found.optim.betas == [0.8, 0.9] and found.flag is True


def test_a_single_value_fills_a_list():
    assert config.load(Example, "nothing", ["labels=a.csv"]).labels == [Path("a.csv")]


@pytest.mark.parametrize(
    "word, near", [("optim.lrr=1", "optim.lr"), ("stor=x", "store"), ("flagg=true", "flag")]
)
def test_misspelt_key_is_refused_with_the_nearest(word, near):
    with pytest.raises(UserError, match=f"did you mean '{near}'"):
        config.load(Example, "nothing", [word])


def test_every_bad_value_is_named_at_once():
    with pytest.raises(UserError) as error:
        config.load(Example, "nothing", ["optim.lr=-1", "flag=perhaps"])
    assert (
        "optim.lr" in str(error.value) and "flag" in str(error.value) and "Fix:" in str(error.value)
    )


def test_part_options_are_checked_and_converted():
    part = config.Part(name="thing", size="4,5", depth="3")
    built = part.build(TABLE, "part", "g")
    assert (built.given, built.size, built.depth) == ("g", [4, 5], 3)
    with pytest.raises(UserError, match="did you mean 'part.depth'"):
        config.Part(name="thing", size=[1], dept=3).build(TABLE, "part", "g")
    with pytest.raises(UserError, match="part.size"):
        config.Part(name="thing").build(TABLE, "part", "g")
    with pytest.raises(UserError, match="did you mean 'thing'"):
        config.Part(name="thingg").build(TABLE, "part", "g")


def test_part_by_name_drops_the_options_of_another():
    merged = config.merge({"part": {"name": "a", "x": 1}}, {"part": "b"})
    assert merged == {"part": {"name": "b"}}
    kept = config.merge({"part": {"name": "a", "x": 1}}, {"part": {"y": 2}})
    assert kept == {"part": {"name": "a", "x": 1, "y": 2}}


def test_part_name_and_option_in_either_order():
    for words in (["part=thing", "part.depth=5"], ["part.depth=5", "part=thing"]):
        part = config.load(Example, "nothing", words).part
        assert part.name == "thing" and part.options == {"depth": "5"}
    assert config.load(Example, "nothing", ["part=a", "part.depth=5", "part=b"]).part.name == "b"


def test_options_of_a_part_without_its_name_are_the_default_s():
    part = config.load(Example, "nothing", ["part.depth=5"]).part
    assert part.name == "thing" and part.options == {"depth": "5"}
    assert config.of(Example, "nothing", "", {"part": {"depth": 5}}).part == config.Part(
        name="thing", depth=5
    )
    with pytest.raises(UserError, match="did you mean 'part.depth'"):
        config.load(Example, "nothing", ["part.dept=5", "part.size=3"], {"part": TABLE})


def test_a_class_that_cannot_be_built_says_why_and_how():
    class Own:
        def __init__(self, given, *, size: Annotated[int, "voxels"] = 4):
            if size % 2:
                raise ValueError("size must be even")

    table = {"own": "nowhere:Own"}
    part = config.Part(name="own", size=3)
    part_of = type("Fixed", (config.Part,), {"target": lambda *_: Own})
    with pytest.raises(UserError, match="part=own: cannot be built with size=3 .*must be even"):
        part_of(**part.model_dump()).build(table, "part", "g")
    with pytest.raises(UserError, match="too many positional arguments"):
        part_of(name="own").build(table, "part", "g", "h")


def test_bounds_of_options_are_kept():
    class Own:
        def __init__(self, *, n: Annotated[config.Count, "how many"] = 1,
                     sizes: Annotated[list[config.Count], "voxels"] = (1,)): ...  # fmt: skip

    fields = config.options_model(Own).model_fields
    assert fields["n"].description == "how many"
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        config.options_model(Own)(n=0)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        config.options_model(Own)(sizes="3,0")


def test_a_second_preset_is_one_word_too_many():
    with pytest.raises(UserError, match="mae: is one word too many"):
        config.load(Example, "pretrain", ["voco", "here", "mae"])


def test_a_module_of_ones_own_is_found_where_the_command_is_given(tmp_path, monkeypatch):
    (tmp_path / "own_part.py").write_text(
        "class Mine:\n    def __init__(self, *, n: int = 1):\n        self.n = n\n"
    )
    monkeypatch.chdir(tmp_path)
    assert config.Part(name="own_part:Mine", n="3").build({}, "part").n == 3


def test_parts_are_recorded_with_converted_options():
    part = config.Part(name="thing", size="4,5").checked(TABLE, "part")
    assert part.model_dump() == {"name": "thing", "size": [4, 5]}


def test_dotted_keys_do_as_nested_ones():
    found = config.of(Example, "nothing", values={"optim.lr": 0.5, "optim": {"betas": [0.1]}})
    assert found.optim.betas == [0.1]
    assert config.of(Example, "nothing", values={"optim.lr": 0.5}).optim.lr == 0.5
    both = config.of(Example, "nothing", values={"part": "thing", "part.size": [1]})
    assert both.part.name == "thing" and both.part.options == {"size": [1]}


def test_keys_that_a_preset_gives_say_which_presets_there_are():
    from medssl.stages import finetune

    with pytest.raises(
        UserError, match="task.size: is required.*name a preset .classification, class"
    ):
        config.load(finetune.Config, "finetune", [], finetune.TABLES)


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(UserError, match="CONFIG store=: is empty"):
        config.load(Example, "nothing", ["store="])
    assert config.load(Example, "nothing", ["labels="]).labels == []


@pytest.mark.parametrize("words", [["optim=1", "optim.lr=2"], ["optim=none", "optim.lr=2"]])
def test_a_key_of_what_is_no_group_is_told(words):
    with pytest.raises(UserError, match="CONFIG optim"):
        config.load(Example, "nothing", words)


def test_none_is_a_word_where_it_can_be_chosen():
    assert config.load(Example, "nothing", ["which=none"]).which == "none"
    with pytest.raises(UserError, match="CONFIG flag"):
        config.load(Example, "nothing", ["flag=none"])


class Before(config.Config):
    positional: ClassVar = ("verb",)
    rest: ClassVar = "command"
    verb: str = Field(description="which")
    command: list[str] = Field([], description="its words")
    flag: bool = Field(False, description="yes or no")


def test_words_behind_the_positional_ones_are_left_as_they_stand():
    words = ["--flag", "pretrain", "voco", "flag=false", "--resume", "a.b=[1, 2]", "verb=other"]
    found = config.load(Before, "nothing", words)
    assert (found.flag, found.verb, found.command) == (True, "pretrain", words[2:])
    assert config.load(Before, "nothing", ["run"]).command == []
    with pytest.raises(UserError, match="without dashes"):
        config.load(Before, "nothing", ["--command", "x"])


class Several(config.Config):
    positional: ClassVar = ("first", "rest")
    first: str = Field("", description="one")
    rest: list[Path] = Field([], description="all that is left")


def test_a_list_that_is_the_last_positional_key_takes_all_words_that_are_left():
    found = config.load(Several, "nothing", ["a", "b", "c,d", "e/f"])
    assert found.first == "a" and found.rest == [Path("b"), Path("c"), Path("d"), Path("e/f")]
    found = config.load(Several, "nothing", ["a", "rest=b", "c"])
    assert found.rest == [Path("b"), Path("c")]
    assert config.takes_many(Several, "rest") and not config.takes_many(Several, "first")
