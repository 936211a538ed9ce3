"""A study as its folder tells of it: what it compares, and how many of its fine-tunings are done."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pandas as pd

from medssl.data.files import write_json
from medssl.training.run_folder import held

END = "study.json"  # written when it is finished
KEYS = {
    "arms",
    "methods",
    "backbones",
    "labelled",
    "draws",
    "seeds",
    "trials",
}  # of its config.json


def write_end(folder: Path, cautions: list[str]) -> None:
    """Keep when a study came to its end, which copies of its files do not tell, and its cautions."""
    date = datetime.now().isoformat(" ", "minutes")
    write_json(folder / END, {"date": date, "cautions": cautions})


@dataclass(frozen=True)
class Study:
    """values: all settings, as config.json has them."""

    folder: Path
    values: dict

    verb: ClassVar = "study"
    name: ClassVar = ""

    @classmethod
    def found(cls, folder: Path) -> "Study | None":
        """The study that a folder is of; None of any other folder."""
        try:
            values = json.loads((folder / "config.json").read_bytes())
        except (OSError, ValueError):
            return None  # a run whose settings cannot be read says so itself
        return cls(folder, values) if isinstance(values, dict) and values.keys() >= KEYS else None

    @property
    def arms(self) -> list[str]:
        """As they were asked for, but for those from scratch."""
        asked = self.values
        own = asked.get("only") or asked["arms"]
        return [*asked["methods"], *(Path(path).name for path in asked["backbones"]), *own]

    @property
    def labelled(self) -> str:
        return ", ".join(str(n or "all") for n in self.values["labelled"])

    @property
    def store(self) -> str:
        return Path(self.values["store"]).name

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
        draws = sum(self.values["draws"] if n else 1 for n in self.values["labelled"])
        return (len(self.arms) + max(scratch, 1)) * draws * self.values["seeds"]

    @cached_property
    def state(self) -> str:
        """finished, running or stopped."""
        if self.report.exists():
            return "finished"
        runs = [*self.folder.glob("pretrain/*"), *self.folder.glob("finetune/*/*")]
        return "running" if any(held(run) for run in runs) else "stopped"

    @property
    def gains(self) -> pd.DataFrame:
        """What each arm gains over training from scratch, by number of labels, as differences.csv has it;
        empty until it is finished."""
        path = self.folder / "differences.csv"
        there = self.state == "finished" and path.exists()
        return pd.read_csv(path) if there else pd.DataFrame()

    @property
    def cautions(self) -> list[str]:
        """Those of its report."""
        return [str(words) for words in self._end.get("cautions", [])]

    @cached_property
    def _end(self) -> dict:
        """Of a study that ended before this was kept, or whose file is damaged, nothing."""
        try:
            told = json.loads((self.folder / END).read_bytes())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) and self.state == "finished" else {}

    @property
    def date(self) -> str:
        """When it came to its end; before that, when its config was written."""
        if date := self._end.get("date"):
            return str(date)
        path = self.report if self.report.exists() else self.folder / "config.json"
        return datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
