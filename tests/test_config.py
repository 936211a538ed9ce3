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
    names = {"classes": {1: "liver", 2: "spleen"}}
    assert config.merge(names, {"classes": {"7": "lung"}}) == {"classes": {"7": "lung"}}
    merged = config.merge({"part": {"name": "a", "x": 1}}, {"part": "b"})
    assert merged == {"part": {"name": "b"}}
    kept = config.merge({"part": {"name": "a", "x": 1}}, {"part": {"y": 2}})
    assert kept == {"part": {"name": "a", "x": 1, "y": 2}}


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


def test_a_module_of_ones_own_is_found_where_the_command_is_given(tmp_path, monkeypatch):
    (tmp_path / "own_part.py").write_text(
        "class Mine:\n    def __init__(self, *, n: int = 1):\n        self.n = n\n"
    )
    monkeypatch.chdir(tmp_path)
    assert config.Part(name="own_part:Mine", n="3").build({}, "part").n == 3


def test_parts_are_recorded_with_converted_options():
    part = config.Part(name="thing", size="4,5").checked(TABLE, "part")
    assert part.model_dump() == {"name": "thing", "size": [4, 5]}
