"""A run as its folder tells of it: what it was asked, how far it has come, and what it is worth."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from medssl.data.recipe import Recipe
from medssl.evaluation.headline import headline_among
from medssl.evaluation.intervals import too_few
from medssl.training.card import nothing_learnt

GRAVE = (
    "ALARM",
    "learnt nothing",
    "validation seen",
    "overlap allowed",
    "test seen",
    "look-alikes",
    "other weights",
)


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
    figure: str = ""  # that the validation score is; cards of before do not say
    chance: float | None = None
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
    kept: bool = True  # its weights are there

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
            said["learnt nothing"] = nothing_learnt(self.card.model_dump())
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
