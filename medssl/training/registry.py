"""Runs as their folders tell of them: no other list is kept, so that none can go stale."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from medssl.data.recipe import Recipe
from medssl.errors import one_line
from medssl.evaluation.headline import headline_among
from medssl.evaluation.intervals import too_few
from medssl.progress import say
from medssl.training.log import read_jsonl, since_best
from medssl.training.run_folder import held

# Parts of what medssl writes that hold no run, and may hold many files: by a file that tells what it is.
PARTS = {
    "config.json": {"checkpoints", "evaluation", "model", "pictures", "probe"},
    "store.json": {"arrays"},
    "selection.json": {"read"},
}
GRAVE = ("ALARM", "validation seen", "overlap allowed", "test seen", "look-alikes", "other weights")
TAIL = 1 << 16  # bytes of a log in which its last line lies
Kind = TypeVar("Kind", bound=BaseModel)


class _Read(BaseModel):
    """What is read of a JSON file; what else stands there is left alone."""

    model_config = ConfigDict(extra="ignore")


class Choice(_Read):
    name: str


class Steps(_Read):
    steps: int
    seed: int = 0


class Settings(_Read):
    """Of config.json, or of the config in a card."""

    fit: Steps
    method: Choice | None = None
    task: Choice | None = None
    arch: Choice | None = None
    backbone: Choice | str | None = None
    start: str | None = None
    from_scratch: bool = False
    allow_overlap: bool = False
    boxes_of_masks: bool = False
    smallest: int = 1
    patience: int = 0
    scans: dict[str, str] = {}


class Card(_Read):
    """Of model/card.json."""

    steps: int
    config: dict[str, Any]
    backbone: Choice
    recipe: Recipe
    weights_sha256: str
    patients: dict[str, list[str]]
    scans: dict[str, list[str]]
    validation: float | None = None
    alarm: str = ""
    start: str = ""
    trained_on: int = 0
    classes: dict[str, str] = {}
    target: list[str] = []
    parent: dict[str, Any] = {}
    selection: dict[str, Any] = {}
    cohort: str = ""
    versions: dict[str, str] = {}


class Figure(_Read):
    """An estimate with its interval."""

    estimate: float
    low: float
    high: float
    n_patients: int
    n_cases: int

    def __str__(self) -> str:
        return f"{self.estimate:z.3f} ({self.low:z.3f} to {self.high:z.3f})"


class Evaluation(_Read):
    """Of evaluation/metrics.json."""

    metrics: dict[str, Figure]
    split: str = "test"
    classes: list[str] = []
    n_patients: int = 0
    weights_sha256: str = ""
    trained_on_held_out_patients: dict[str, int] = {}
    n_look_alikes_of_training_scans: int = 0
    n_cases_of_unknown_patients: int = 0
    remarks: list[str] = []

    @property
    def headline(self) -> tuple[str, Figure] | None:
        """The figure that stands for all; None where this version knows none of them."""
        found = headline_among(self.metrics)
        return (found[0], self.metrics[found[0]]) if found else None


class Probe(_Read):
    """Of one question in probe/probe.json."""

    pretrained: Figure
    untrained: Figure
    difference: Figure
    chance: float


@dataclass(frozen=True)
class Run:
    """A run's folder as it is now.

    config  what is read of its settings; those of its card where config.json is not there, as in a copy
            that was passed on
    values  all settings, as config.json or the card has them
    faults  why parts of it cannot be read
    logged  the last step in its log, saved: of its newest checkpoint; 0 for none
    """

    folder: Path
    config: Settings | None = None
    values: dict[str, Any] = field(default_factory=dict)
    card: Card | None = None
    evaluation: Evaluation | None = None
    probe: dict[str, Probe] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    logged: int = 0
    saved: int = 0
    ended_early: bool = False  # validation gained no more
    running: bool = False

    @property
    def verb(self) -> str:
        """pretrain, finetune, or "" where nothing tells."""
        if not self.config or not (self.config.method or self.config.task):
            return ""
        return "pretrain" if self.config.method else "finetune"

    @property
    def name(self) -> str:
        """Of its method or task."""
        chosen = self.config and (self.config.method or self.config.task)
        return chosen.name if chosen else ""

    @property
    def asked(self) -> int:
        return self.config.fit.steps if self.config else 0

    @property
    def steps(self) -> int:
        """Done: where it would go on from; while it runs, and of a model whose checkpoints were deleted,
        as the log says."""
        if self.running or self.ended_early or (self.card and not self.saved):
            return self.logged
        return self.saved

    @property
    def state(self) -> str:
        """damaged, running, finished or stopped."""
        if self.faults:
            return "damaged"
        if self.running:
            return "running"
        ended = self.card and 0 < self.asked <= self.steps
        return "finished" if self.ended_early or ended else "stopped"

    @property
    def origin(self) -> str:
        """What its weights were before, and in which folder these lay."""
        if not self.config:
            return ""
        if self.verb == "pretrain":
            return (
                f"weights of {Path(self.config.start).name}"
                if self.config.start
                else "random weights"
            )
        folder = self.config.backbone if isinstance(self.config.backbone, str) else ""
        if not folder or self.config.from_scratch:
            return "scratch"
        start = self.card.start if self.card else "pretrained"
        return f"{Path(folder).name}, {start}"

    @property
    def stale(self) -> bool:
        """Whether its evaluation is of other weights than it has now."""
        scored = self.evaluation.weights_sha256 if self.evaluation else ""
        return bool(scored and self.card and scored != self.card.weights_sha256)

    @property
    def marks(self) -> list[str]:
        """The warnings that change what its figures mean, in a word or two."""
        return [mark for mark in self.warnings if mark in GRAVE]

    @property
    def warnings(self) -> dict[str, str]:
        """What a reader must not miss, by a word or two for a list."""
        said = {"damaged": "; ".join(self.faults)}
        if self.card:
            said["ALARM"] = self.card.alarm
            patients = {part: set(who) for part, who in self.card.patients.items()}
            both = patients.get("pretrain", set()) & patients.get("validation", set())
            if both:
                said["validation seen"] = (
                    f"{len(both)} patients that chose the weights had been trained on before: the "
                    "validation score is too high"
                )
        if self.config and self.config.allow_overlap:
            said["overlap allowed"] = (
                "allow_overlap=true was given: held-out patients may be among those trained on"
            )
        if found := self.evaluation:
            if leaked := found.trained_on_held_out_patients:
                parts = ", ".join(f"{n} in {part}" for part, n in leaked.items())
                said["test seen"] = (
                    f"scored patients had been trained on ({parts}): the figures are too high"
                )
            if alike := found.n_look_alikes_of_training_scans:
                said["look-alikes"] = (
                    f"{alike} scored scans look like one of the training (evaluation/look_alikes.csv): "
                    "if they are copies, the figures are too high"
                )
            if self.stale:
                said["other weights"] = (
                    "the evaluation is of other weights than model/ holds now: evaluate again"
                )
            if unknown := found.n_cases_of_unknown_patients:
                said["unknown patients"] = (
                    f"whose {unknown} scored scans are is not known: each counts as a patient of its own"
                )
            said["few patients"] = too_few(found.n_patients)
            said |= {f"remark {n}": words for n, words in enumerate(found.remarks, 1)}
        return {name: words for name, words in said.items() if words}

    @property
    def date(self) -> str:
        """When its model, or if there is none its config, was last written."""
        for path in (self.folder / "model/card.json", self.folder / "config.json"):
            if path.exists():
                return datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
        return ""


def find(folder: Path) -> Iterator[Path]:
    """Run folders at or below a folder, in order of their names.

    Links to folders are followed, each folder is looked into once. What cannot hold a run (arrays of a
    store, checkpoints, hidden folders) is not walked through.
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
    if run:
        yield folder
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
    if card and not (folder / "model/weights.safetensors").is_file():
        faults.append("model/weights.safetensors is missing")
    if probes := _json(folder, "probe/probe.json", faults):
        read_as = TypeAdapter(dict[str, Probe])
        found["probe"] = _checked(read_as, probes, "probe/probe.json", faults) or {}
    try:
        found["logged"] = _last(folder / "metrics.jsonl")
        found["saved"] = _newest(folder / "checkpoints")
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


def _newest(checkpoints: Path) -> int:
    """The step of the newest checkpoint; 0 for none."""
    numbers = (p.name.removeprefix("step-") for p in checkpoints.glob("step-*"))
    return max((int(n) for n in numbers if n.isdigit()), default=0)


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
