"""Say how long a command will take, and how much memory and disk, before it is given.

Write `plan` before the command: medssl plan pretrain voco store=store out=runs/voco. The verb is tried
on a little of its work (a few steps with two batch sizes, a few scans), in a process and a folder of
their own, which takes from seconds to a minute, and of a study, of which each pretraining is tried, and a
fine-tuning and a scoring, minutes; nothing is written into its out. Of a run that was cut off, what is left
is said. Keys of plan itself stand before the verb: medssl plan out=plan.json pretrain ...
"""

import importlib
import json
import shlex
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from medssl import command_line
from medssl.config import Config as Base
from medssl.data.files import write_atomically
from medssl.data.out import check_out
from medssl.describe import words
from medssl.errors import UserError
from medssl.stages import asked
from medssl.stages.plan.answer import Batch, Figure, Plan, total

__all__ = ["Batch", "Config", "Figure", "Plan", "forecast", "run", "total"]

# Functions of (the verb's config, an empty folder) that return a Plan.
PLANS = {
    "prepare": "medssl.stages.plan.scans:prepare",
    "reduce": "medssl.stages.plan.stores:reduce",
    "pretrain": "medssl.stages.plan.training:pretrain",
    "probe": "medssl.stages.plan.stores:probe",
    "embed": "medssl.stages.plan.stores:embed",
    "finetune": "medssl.stages.plan.training:finetune",
    "evaluate": "medssl.stages.plan.scans:evaluate",
    "predict": "medssl.stages.plan.scans:predict",
    "study": "medssl.stages.plan.studies:study",
}
STAGES = "it calls other verbs, each on what the one before has written: plan those"
LIGHT = "it reads headers, tables or text, and shows its progress"
REASONS = {
    "run": STAGES,
    "demo": STAGES,
    "qc": "it reads every scan once: plan prepare, which does more",
}


class Config(Base):
    positional: ClassVar = ("verb",)
    rest: ClassVar = "command"
    examples: ClassVar = (
        "medssl plan pretrain voco store=store out=runs/voco",
        "medssl plan finetune segmentation backbone=runs/voco store=store fit.batch_size=8",
        "medssl plan out=plan.json predict runs/organs NEW/ out=predictions",
    )
    verb: str = Field("", description="what is planned: " + ", ".join(PLANS))
    command: list[str] = Field([], description="the words behind it, as they will be given")
    out: Path | None = Field(None, description="JSON file to write the plan to")


def run(config: Config) -> Path | None:
    _check(config.verb)
    given = asked(config.verb, config.command)
    plan = _planned(config.verb, given)
    print(shlex.join(["medssl", config.verb, *config.command]), plan, sep="\n")
    if config.out:
        stated = words(type(given), given.model_dump(mode="json"))
        text = json.dumps({"command": [config.verb, *stated], **plan.record()}, indent=1)
        write_atomically(config.out, lambda path: path.write_text(text))
    return config.out


def forecast(verb: str, preset: str = "", **values: Any) -> Plan:
    """What `call(verb, preset, ...)` will cost. Raises UserError for what cannot be planned or run."""
    _check(verb)
    stage = importlib.import_module(f"medssl.stages.{verb}")
    return _planned(verb, command_line.of(stage.Config, verb, preset, values))


def _planned(verb: str, config: Base) -> Plan:
    module, _, function = PLANS[verb].partition(":")
    plan = getattr(importlib.import_module(module), function)
    if getattr(config, "out", None) is not None:
        check_out(verb, config)
    with tempfile.TemporaryDirectory(prefix="medssl-plan-") as folder:
        return plan(config, Path(folder))


def _check(verb: str) -> None:
    """Raise UserError CONFIG for a verb that cannot be planned, and say why."""
    if verb in PLANS:
        return
    try:
        importlib.import_module(f"medssl.stages.{verb or None}")
    except ImportError:
        cause = "is no verb" if verb else "names no verb"
    else:
        cause = f"cannot be planned: {REASONS.get(verb, LIGHT)}"
    raise UserError("CONFIG", f"medssl plan {verb}", cause, f"plan one of {', '.join(PLANS)}")
