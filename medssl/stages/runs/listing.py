"""Runs and studies as a table: in full for a CSV file, in short for a terminal."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medssl.privacy import printable
from medssl.training.run import Figure, Run
from medssl.training.study_folder import Study

VALIDATION = "validation"
COLUMNS = ("run", "what", "from", "labelled", "state", VALIDATION, "figure")
SHARED = ("what", "from", "labelled", "state")  # told once if all runs have the same
WIDTH = 120  # of a terminal
GAP = "  "
LEAST = {"what": 16, "from": 8}  # to which columns are cut where others need the room
SHOWN_CLASSES = 3


def listed(runs: Iterable[Run | Study], folder: Path, sort: str = "run") -> pd.DataFrame:
    """A row a run or study."""
    rows = [
        {
            "run": run.folder.relative_to(folder).as_posix(),
            **(_study_row(run) if isinstance(run, Study) else _row(run)),
        }
        for run in runs
    ]
    table = pd.DataFrame(sorted(rows, key=lambda row: by_number(row["run"])))
    if sort == "run":
        return table
    by = {"figure": "estimate"}.get(sort, sort)
    return table.sort_values(by, ascending=False, kind="stable", ignore_index=True)


def by_number(name: str) -> list[tuple]:
    """As people sort names: 2-draw0 before 16-draw0."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def _row(run: Run) -> dict:
    name, figure = _figure(run)
    card, config = run.card, run.config
    return {
        "verb": run.verb,
        "what": run.name,
        "target": " ".join(card.target) if card else "",
        "classes": list(card.classes.values()) if card else [],
        "from": run.origin,
        "labelled": _labelled(run),
        "draw": run.values.get("draw") if run.verb == "finetune" else None,
        "seed": config.fit.seed if config else None,
        "steps": run.steps,
        "asked": run.asked,
        "state": run.state,
        VALIDATION: card.validation if card else None,
        "validation figure": card.figure if card else "",
        "figure": name,
        **{k: getattr(figure, k, None) for k in ("estimate", "low", "high", "n_patients", "n_cases")},
        "date": run.date,
        "warnings": "; ".join([*run.faults, *run.marks]),
    }  # fmt: skip


def _labelled(run: Run) -> int | None:
    """Scans that a fine-tuning learnt from, or that it was asked to."""
    if run.verb != "finetune":
        return None
    return run.card.trained_on if run.card else run.values.get("labelled") or None


def _study_row(study: Study) -> dict:
    """`steps` are fine-tunings; its figures stand in its report."""
    return {
        "verb": study.verb,
        "what": f"on {study.store} with {study.labelled} labels: {'; '.join(study.arms)}",
        "steps": study.done,
        "asked": study.asked,
        "state": study.state,
        VALIDATION: None,
        "estimate": None,
        "date": study.date,
        "warnings": "",
    }


def _figure(run: Run) -> tuple[str, Figure | None]:
    """The main figure of a run's evaluation, or the first of its probe, and its name."""
    if run.evaluation and run.evaluation.headline:
        name, figure = run.evaluation.headline
        return f"{run.evaluation.split} {name}", figure
    for name, probe in run.probe.items():
        return f"probe {name}", probe.pretrained
    return "", None


def print_table(table: pd.DataFrame) -> None:
    """A line each, no wider than a terminal unless the names of runs are; what is wrong with one below it.

    A column that says the same of all runs is told once, above, where the lines would be too wide.
    """
    rows = table.to_dict("records")
    runs = [_shown(row) for row in rows if row["verb"] != Study.verb]
    head = [{name: name for name in COLUMNS}] if runs else []
    there = [name for name in COLUMNS if any(row[name] for row in runs) or name == "run"]
    wide = {name: max((len(row[name]) for row in head + runs), default=0) for name in there}
    wide["run"] = max(wide["run"], *(len(row["run"]) for row in rows))
    if len(runs) > 1 and _over(wide) > 0:
        same = [c for c in SHARED if c in wide and len({row[c] for row in runs}) == 1]
        if same:
            told = [f"{c} {runs[0][c]}" if c in ("from", "labelled") else runs[0][c] for c in same]
            print(printable(f"all {len(runs)} runs: {'; '.join(told)}"))
        wide = {name: n for name, n in wide.items() if name not in same}
    for name in (name for name in LEAST if name in wide):
        wide[name] = min(wide[name], max(LEAST[name], wide[name] - max(_over(wide), 0)))
    for row in head + rows:
        name = row["run"].ljust(wide["run"])
        if row.get("verb") == Study.verb:
            words = f"study {row['state']}, {row['steps']}/{row['asked']}, {row['what']}"
            cells = [name, _cut(words, max(LEAST["what"], WIDTH - len(name) - len(GAP)))]
        else:
            shown = row if row in head else _shown(row)
            cells = [name, *(_cut(shown[c], n).ljust(n) for c, n in wide.items() if c != "run")]
        print(printable(GAP.join(cells).rstrip()))
        if row.get("warnings"):
            print(printable(f"{GAP}{row['run']}: {row['warnings']}"))


def _over(wide: dict[str, int]) -> int:
    """By how much lines of these columns are wider than a terminal."""
    return sum(wide.values()) + len(GAP) * (len(wide) - 1) - WIDTH


def _shown(row: dict) -> dict[str, str]:
    """What COLUMNS say of a run."""
    names = row["classes"]
    of = row["target"] or few_of(names)
    what = "pretrain " * (row["verb"] == "pretrain") + row["what"]
    done = "" if row["state"] == "finished" else f" {row['steps']}/{row['asked']}"
    score = row[VALIDATION]
    interval = ""
    if row["figure"]:
        words = row["figure"].replace(", mean of classes", "")
        interval = f"{words} {row['estimate']:z.3f} ({row['low']:z.3f} to {row['high']:z.3f})"
    return {
        "run": row["run"],
        "what": f"{what}: {of}" if of else what,
        "from": row["from"].partition(", ")[0],
        "labelled": f"{row['labelled']:.0f}"
        if row["labelled"] and not pd.isna(row["labelled"])
        else "",
        "state": row["state"] + done,
        VALIDATION: "" if pd.isna(score) else f"{row['validation figure']} {score:z.3f}".strip(),
        "figure": interval,
    }


def few_of(names: Iterable[str], most: int = SHOWN_CLASSES, gap: str = ", ") -> str:
    """The first names."""
    names = [*names]
    return gap.join([*names[:most], *["..."] * (len(names) > most)])


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 3] + "..."
