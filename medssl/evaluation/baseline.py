"""Another evaluation to compare with, looked at before anything is scored."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medssl.errors import UserError
from medssl.evaluation.detection import EDGES
from medssl.evaluation.headline import headline


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
            if not isinstance(metrics, dict) or not isinstance(metrics.get("metrics", {}), dict):
                raise ValueError("no mapping")
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

    @property
    def question(self) -> str:
        """Stands for what was asked: which cases, whose, what is true of them, and the tolerance."""
        asked = truths(self.cases).to_csv(index=False)
        more = [sorted(self.metrics.get("classes", [])), self.metrics.get("tolerance_mm")]
        return hashlib.sha256(f"{asked}{more}".encode()).hexdigest()[:16]

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

    def check_kind(self, cases: pd.DataFrame) -> None:
        """Raise UserError unless another table answers the same kind of question."""
        differ = set(truths(self.cases)) ^ set(truths(cases))
        if differ or headline(self.cases) != headline(cases):
            what = headline(self.cases)[0], headline(cases)[0]
            raise UserError(
                "MISMATCH", self.folder, f"its cases are scored by {what[0]}, others by {what[1]}"
                + (f" (only one side has {', '.join(sorted(differ))})" if differ else ""),
                "compare runs of one task, evaluated with the same iou",
            )  # fmt: skip

    def check_truths(self, cases: pd.DataFrame) -> None:
        """Raise UserError unless the same is true of the same cases in another table of this kind."""
        ours, theirs = truths(self.cases), truths(cases)
        cause = ""
        if len(ours) != len(theirs):
            cause = f"it has {len(ours)} rows that are true, not {len(theirs)}"
        else:
            theirs = theirs[list(ours)]
            other = ~((ours == theirs) | (ours.isna() & theirs.isna()))
            if other.any(axis=None):
                columns = ", ".join(other.columns[other.any()])
                n = ours.loc[other.any(axis=1), "id"].nunique()
                cause = f"of {n} cases it has another {columns}"
        if cause:
            fix = "evaluate both runs on the same store, with the same labels"
            raise UserError("MISMATCH", self.folder, cause, fix)


def truths(cases: pd.DataFrame) -> pd.DataFrame:
    """What a table of cases holds that no model has a say in, in an order that is its own."""
    if "box" in cases:
        true = cases[cases["box"] == "truth"]
        without = cases[~cases["id"].isin(true["id"])].drop_duplicates("id")
        told = ["id", "patient", "class", *(c for c in EDGES[3] if c in cases)]
        table = pd.concat([true[told], without[["id", "patient"]]])
        return table.sort_values([c for c in told if c != "patient"], ignore_index=True).round(3)
    told = ("id", "patient", "class", "truth", "volume_ml_truth")
    known = [c for c in cases if c in told or c.startswith("truth_")]
    order = ["id", "class"] if "class" in cases else ["id"]
    return cases[known].sort_values(order, ignore_index=True).round(3)
