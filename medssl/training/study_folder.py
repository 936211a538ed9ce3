"""A study as its folder tells of it: what it compares, and how many of its fine-tunings are done."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pandas as pd

from medssl.training.run_folder import held

KEYS = {
    "arms",
    "methods",
    "backbones",
    "labelled",
    "draws",
    "seeds",
    "trials",
}  # of its config.json


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
    def gains(self) -> list[str]:
        """What each arm gains over training from scratch, by number of labels, once it is finished."""
        path = self.folder / "differences.csv"
        if self.state != "finished" or not path.exists():
            return []
        table = pd.read_csv(path)
        said = [
            f"{r.estimate:+z.3f} ({r.low:z.3f} to {r.high:z.3f}) with {r.labelled}"
            if getattr(r, "judged", True)
            else f"not judged with {r.labelled}, where next to nothing was learnt"
            for r in table.itertuples()
        ]
        return [
            f"{arm}: {', '.join(words)}"
            for arm, words in pd.Series(said).groupby(table["arm"], sort=False)
        ]

    @property
    def date(self) -> str:
        """When its report, or if there is none its config, was written."""
        path = self.report if self.report.exists() else self.folder / "config.json"
        return datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
