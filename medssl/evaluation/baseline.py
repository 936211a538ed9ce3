"""Another evaluation to compare with, looked at before anything is scored."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medssl.errors import UserError


@dataclass(frozen=True)
class Baseline:
    """What `medssl evaluate` wrote into a folder: its table of cases and its metrics.json."""

    folder: Path
    cases: pd.DataFrame
    metrics: dict

    @classmethod
    def read(cls, folder: Path) -> "Baseline":
        """Raises UserError if the folder holds no evaluation."""
        folder = Path(folder)
        try:
            cases = pd.read_parquet(folder / "cases.parquet")
            metrics = json.loads((folder / "metrics.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                "EMPTY", folder, "holds no readable cases.parquet and metrics.json",
                "run `medssl evaluate` on the baseline, and give its folder RUN/evaluation",
            ) from error  # fmt: skip
        return cls(folder, cases, metrics)

    @property
    def about(self) -> dict:
        """What it was and what it scored."""
        return {k: self.metrics.get(k) for k in ("run", "start", "trained_on", "metrics")}

    def check(self, ids: set[str], classes: dict[int, str], tolerance: float) -> None:
        """Raise UserError unless it scored these cases, on these classes, at this tolerance (mm)."""
        scored = set(self.cases["id"])
        if scored != ids:
            raise UserError(
                "MISMATCH", self.folder,
                f"it scored {len(scored)} cases, {len(ids & scored)} of the {len(ids)} asked for",
                "evaluate both runs on the same store and split",
            )  # fmt: skip
        named = set(self.metrics.get("classes", []))
        if named != set(classes.values()):
            raise UserError(
                "MISMATCH", self.folder,
                f"its classes are {', '.join(sorted(named))}, here {', '.join(classes.values())}",
                "evaluate a run that was trained on the same classes",
            )  # fmt: skip
        other = self.metrics.get("tolerance_mm")
        if other not in (None, tolerance):
            raise UserError(
                "MISMATCH", self.folder,
                f"its surface distance has a tolerance of {other:g} mm, this one {tolerance:g} mm",
                f"evaluate with tolerance={other:g}",
            )  # fmt: skip
