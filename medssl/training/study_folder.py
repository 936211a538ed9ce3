"""A study as its folder tells of it: what it compares, and how many of its fine-tunings are done."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from pydantic import BaseModel, Field

from medssl.data.files import write_json
from medssl.errors import one_line
from medssl.training.claims import ENDING
from medssl.training.run_folder import locked

END = "study.json"  # written when it is finished


class Asked(BaseModel):
    """What is read of a study's config.json."""

    store: str
    methods: list[str]
    backbones: list[str]
    arms: dict[str, Any]
    only: list[str] = []
    labelled: list[int]
    draws: int
    seeds: int
    trials: list[Any]


class Gain(BaseModel):
    """A row of differences.csv."""

    arm: str
    labelled: int
    estimate: float
    low: float
    high: float
    p: float = Field(alias="p, corrected")
    judged: bool


class End(BaseModel):
    """What a study came to, and when, which copies of its files do not tell."""

    date: str = ""
    cautions: list[str] = []
    gains: list[Gain] = []
    size: dict[str, Any] = {}  # of the study then; it may have been asked to grow since
    fault: str = ""  # why it cannot be read


def write_end(folder: Path, cautions: list[str], gains: pd.DataFrame) -> None:
    """`gains` are rows of differences.csv."""
    date = datetime.now().isoformat(" ", "minutes")
    told = {"date": date, "cautions": cautions, "gains": gains.to_dict("records")}
    told["size"] = _size(json.loads((folder / "config.json").read_bytes()))
    write_json(folder / END, told)


def _size(values: dict) -> dict:
    """Of how many labels, draws and seeds it is, which may become more."""
    return {key: values[key] for key in ("labelled", "draws", "seeds")}


def folder_name(arm: str) -> str:
    """What the folders of an arm are called."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in arm)


@dataclass(frozen=True)
class Study:
    """values: all settings, as config.json has them; config: what is read of them."""

    folder: Path
    values: dict
    config: Asked

    verb: ClassVar = "study"
    name: ClassVar = ""

    @classmethod
    def found(cls, folder: Path) -> "Study | None":
        """The study that a folder is of; None of any other folder."""
        try:
            values = json.loads((folder / "config.json").read_bytes())
            return cls(folder, values, Asked.model_validate(values))
        except (OSError, ValueError):
            return None  # a run whose settings cannot be read says so itself

    @property
    def arms(self) -> list[str]:
        """As they were asked for, but for those from scratch."""
        asked = self.config
        ready = {Path(path).name for path in asked.backbones}
        own = [arm for arm in asked.only or asked.arms if folder_name(arm) not in ready]
        return [*asked.methods, *(Path(path).name for path in asked.backbones), *own]

    @property
    def labelled(self) -> str:
        return ", ".join(str(n or "all") for n in self.config.labelled)

    @property
    def store(self) -> str:
        return Path(self.config.store).name

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @cached_property
    def done(self) -> int:
        """Fine-tunings that are scored."""
        return sum(1 for _ in self.folder.glob("finetune/*/*/scored.json"))

    @property
    def asked(self) -> int:
        """Fine-tunings that are to be scored. Networks that differ have each an arm from scratch, and how
        many do is known once fine-tuning has begun."""
        scratch = sum(1 for _ in self.folder.glob("finetune/from-scratch*"))
        # Of all labels there is one draw.
        asked = self.config
        draws = sum(asked.draws if n else 1 for n in asked.labelled)
        return (len(self.arms) + max(scratch, 1)) * draws * asked.seeds

    @cached_property
    def state(self) -> str:
        """finished, running or stopped."""
        if self.report.exists() and self.last.size in ({}, _size(self.values)):
            return "finished"
        # Looking at a claim holds it for a moment, after which work is asked for again. The page's is left
        # alone: who finds it held leaves the writing to others, and nobody would do it.
        places = ("pretrain/*", "finetune/*/*")
        claims = (self.folder.glob(f"{place}/.*{ENDING}") for place in places)
        return "running" if any(map(locked, chain(*claims))) else "stopped"

    @property
    def end(self) -> End:
        """Nothing of a study that is not finished, or ended before this was kept."""
        return self.last if self.state == "finished" else End()

    @cached_property
    def last(self) -> End:
        """What it came to when it was last at an end, be it before it was asked to grow."""
        path = self.folder / END
        if not path.exists():
            return End()
        try:
            return End.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            return End(fault=f"{END} cannot be read ({one_line(error)})")

    @property
    def date(self) -> str:
        """When it came to its end; before that, when its config was written."""
        if self.end.date:
            return self.end.date
        path = self.report if self.report.exists() else self.folder / "config.json"
        return datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
