"""Runs are found and read by their folders: no other list is kept, so that none can go stale."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from medssl.errors import UserError, one_line
from medssl.evaluation.baseline import Baseline
from medssl.progress import say
from medssl.training.log import read_jsonl, since_best
from medssl.training.run import Card, Evaluation, Probe, Run, Settings
from medssl.training.run_folder import NOT_KEPT, WEIGHTS, checkpoints, held, step_of
from medssl.training.study_folder import Study

# Parts of what medssl writes that hold no run, and may hold many files: by a file that tells what it is.
PARTS = {
    "config.json": {
        "capture", "checkpoints", "evaluation", "model", "pictures", "probe", "tensorboard", "wandb",
        "mlflow",
    },  # fmt: skip
    "store.json": {"arrays"},
    "selection.json": {"read"},
}  # fmt: skip
TAIL = 1 << 16  # bytes of a log in which its last line lies
Kind = TypeVar("Kind", bound=BaseModel)


def find(folder: Path) -> Iterator[Path]:
    """Folders of runs and studies at or below a folder, in order of their names.

    The runs of a study are found from a folder within it alone. Links to folders are followed, each folder is
    looked into once. What cannot hold a run (arrays of a store, checkpoints, hidden folders) is not walked
    through.
    """
    yield from _find(Path(folder), set())


def _find(folder: Path, visited: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as error:
        say(f"remark: {folder} cannot be looked into ({one_line(error)})")
        return
    names = {e.name for e in entries}
    begun = "config.json" in names and names & {".lock", "checkpoints", "metrics.jsonl"}
    run = begun or ("model" in names and (folder / "model/card.json").is_file())
    study = not run and "config.json" in names and Study.found(folder)
    if run or study:
        yield folder
    if study:
        return  # of its hundreds of runs it tells itself
    left_out = set(PARTS["config.json"]) if run else set()
    left_out |= {part for mark in names & set(PARTS) - {"config.json"} for part in PARTS[mark]}
    for entry in entries:
        if not entry.name.startswith(".") and entry.name not in left_out and entry.is_dir():
            yield from _find(Path(entry.path), visited)


def read(folder: Path) -> Run:
    """What the folder of a run holds. What is damaged becomes a fault, never an error."""
    folder, faults = Path(folder), []
    card = _read(folder, "model/card.json", Card, faults)
    found = {"evaluation": _read(folder, "evaluation/metrics.json", Evaluation, faults)}
    values = _json(folder, "config.json", faults) or {}
    if not values and card and not (folder / "config.json").exists():
        values = card.config
    config = _checked(Settings, values, "config.json", faults) if values else None
    found["kept"] = (folder / WEIGHTS).is_file()
    if card and not (found["kept"] or (folder / NOT_KEPT).is_file()):
        faults.append("model/weights.safetensors is missing")
    if probes := _json(folder, "probe/probe.json", faults):
        read_as = TypeAdapter(dict[str, Probe])
        found["probe"] = _checked(read_as, probes, "probe/probe.json", faults) or {}
    try:
        found["logged"] = _last(folder / "metrics.jsonl")
        steps = [step_of(path) for path in checkpoints(folder / "checkpoints")]
        found["saved"] = max(steps, default=0)
        if config and config.patience and card:
            found["ended_early"] = _stalled(folder) >= config.patience
        run = Run(folder, config, values, card, **found)
        # Whoever asks for a lock has it for a moment: of a run that has finished nobody needs to ask.
        if run.state != "finished":
            run = replace(run, running=held(folder))
    except OSError as error:
        faults.append(f"{Path(error.filename or folder).name} cannot be read ({one_line(error)})")
        run = Run(folder, config, values, card, **found)
    if config and not run.verb:
        faults.append("config.json names neither a method nor a task")
    if not card and not (folder / "model/card.json").exists() and 0 < run.asked <= run.saved:
        faults.append("training has ended, and model/ is not there")
    if not values and not faults:
        faults.append("there is no config.json that says what was asked")
    return replace(run, faults=tuple(faults))


def evaluated(folder: Path) -> tuple[Baseline, Run | None]:
    """The evaluation of a run, or an evaluation, and the run; None where only an evaluation is given.

    Raises UserError EMPTY if there is none, and STALE if it is of other weights than the run has now.
    """
    if not folder.is_dir():
        raise UserError("RUN", folder, "is no folder", "give the folder of an evaluated run")
    run = folder.parent if folder.name == "evaluation" else folder
    if run == folder and (folder / "cases.parquet").exists():
        return Baseline.read(folder), None
    found = read(run)
    if not (run / "evaluation/cases.parquet").exists():
        if found.verb == "pretrain":
            raise UserError(
                "EMPTY", folder, "was pretrained, without labels, and answers nothing that is scored",
                f"medssl probe {folder}, or compare runs that were fine-tuned from it",
            )  # fmt: skip
        raise UserError("EMPTY", folder, "has no evaluation", f"medssl evaluate {run}")
    if found.stale:
        raise UserError("STALE", folder, found.warnings["other weights"], f"medssl evaluate {run}")
    return Baseline.read(run / "evaluation"), found


def _read(folder: Path, name: str, kind: type[Kind], faults: list[str]) -> Kind | None:
    values = _json(folder, name, faults)
    return None if values is None else _checked(kind, values, name, faults)


def _json(folder: Path, name: str, faults: list[str]) -> dict | None:
    """A JSON file; None where there is none, or none that can be read."""
    try:
        values = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        faults.append(f"{name} cannot be read ({one_line(error)})")
        return None
    if not isinstance(values, dict):
        faults.append(f"{name} holds no mapping")
        return None
    return values


def _checked(kind: type[Kind] | TypeAdapter, values: dict, name: str, faults: list[str]):
    try:
        check = kind.validate_python if isinstance(kind, TypeAdapter) else kind.model_validate
        return check(values)
    except ValidationError as error:
        first, *more = error.errors()
        key = ".".join(str(part) for part in first["loc"])
        others = f", and {len(more)} more" if more else ""
        faults.append(f"{name}: {key} {first['msg'][:1].lower()}{first['msg'][1:]}{others}")
        return None


def _last(log: Path) -> int:
    """The step of a log's last whole line, of which only the end is read; 0 for none."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.path.getsize(log) - TAIL))
            lines = stream.read().split(b"\n")
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError):
            continue  # torn by a kill, or by where the end begins: the one before it is whole
    return 0


def _stalled(folder: Path) -> int:
    """Validations since the best one."""
    log = folder / "metrics.jsonl"
    rows = read_jsonl(log) if log.exists() else []
    scores = [row["validation"] for row in rows if isinstance(row.get("validation"), int | float)]
    return since_best(scores) if scores else 0
