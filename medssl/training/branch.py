"""A run that goes on from the whole state of another: heads, optimiser and step, not the backbone alone.

The run that it came from is only read. What a branch needs of it is copied into the branch's own folder
before its first step, so that both can go on, be stopped and be resumed, one without the other. Its keys
are those of that run, but for those that are given.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medssl.config import flat
from medssl.errors import UserError
from medssl.progress import say
from medssl.training.checkpoint import model_folder, read_state
from medssl.training.durable import sha256
from medssl.training.optim import Optim
from medssl.training.run_folder import begun, checkpoints, read_config, step_of

ORIGIN = "checkpoints/origin"
# Keys in which a branch is as the run that it came from: without them its state means something else.
SAME = ("method.", "optim.", "fit.ema", "fit.precision")
# Of these, what is the branch's own: in any schedule, and in all but the one that goes on as it was.
OWN = {"optim.final", "optim.clip"}
LED = {"optim.schedule", "optim.warmup", "optim.cooldown", "optim.constant"}
BESIDE = ("out", "start", "branch", "profile")  # keys that a branch does not take from its run


@dataclass(frozen=True)
class Branch:
    """run         the folder that it came from, or what was kept of it: holds model/, config.json
    checkpoint  the folder of the state
    step        steps that had been done there
    share       the rate of the last of them, as a share of the largest
    """

    run: Path
    checkpoint: Path
    step: int
    share: float

    def state(self) -> tuple[dict, dict]:
        """Weights and trainer state. Raises UserError where they are damaged or gone."""
        if found := read_state(self.checkpoint):
            weights, trainer = found
            return weights, {
                **trainer,
                "due": False,
            }  # what was due there is no business of a branch
        fix = "start the branch again, in a new folder"
        raise UserError("CHECKPOINT", self.checkpoint, "is not complete", fix)

    def keep(self, out: Path) -> "Branch":
        """The same, of a copy in the new run's folder that holds what it needs to begin again."""
        kept = Path(out) / ORIGIN
        if begun(out) or kept == self.run:
            return self
        shutil.rmtree(kept, ignore_errors=True)  # of a start that came to nothing
        shutil.copytree(model_folder(self.run), kept / "model")
        shutil.copytree(self.checkpoint, kept / "checkpoints" / self.checkpoint.name)
        shutil.copy(self.run / "config.json", kept / "config.json")
        for folder in (kept, kept / "checkpoints"):
            folder.chmod(0o700)
        return replace(self, run=kept, checkpoint=kept / "checkpoints" / self.checkpoint.name)

    def parent(self) -> dict:
        """What a card keeps of it: which state it was, exactly."""
        return {
            "steps": self.step,
            "weights_sha256": sha256(self.checkpoint / "weights.safetensors"),
        }


def keys_beneath(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of the run that a branch comes from, on which `values`, as they are given and before
    any check, are laid; {} where they ask for no branch, or of no run that is there."""
    optim, start = values.get("optim"), values.get("start")
    schedule = optim.get("schedule") if isinstance(optim, dict) else getattr(optim, "schedule", "")
    try:
        asked = TypeAdapter(bool).validate_python(values.get("branch", False))
    except ValidationError:
        asked = False  # the check that comes next names it
    if not start or not (asked or schedule == "anneal"):
        return {}
    run, _ = _run_and_checkpoints(_source(Path(str(start)), Path(str(values.get("out", "run")))))
    if not (run / "config.json").exists():
        return {}  # told by `branch_of`; one that a study will make is not there yet
    return {key: value for key, value in read_config(run).items() if key not in BESIDE}


def keys_laid_over(branch: Branch, settings: dict) -> str:
    """In which keys a branch is not as its run, as `key=value`; "" for none."""
    there = flat(read_config(branch.run))
    return ", ".join(
        f"{key}={value}"
        for key, value in flat(settings).items()
        if there.get(key) != value and key not in BESIDE
    )


def branch_of(start: Path, out: Path, settings: dict) -> Branch:
    """The branch that a run in `out` with these settings is; `start` is a run or one of its checkpoints.

    Raises UserError where there is no checkpoint, or keys differ that must be the same.
    """
    source = _source(start, out)
    try:
        return _branch_of(source, settings)
    except UserError as error:
        if source == start or error.code == "CONFIG":
            raise
        (kept,) = checkpoints(source / "checkpoints")[:1] or [None]
        if kept is None or step_of(kept) not in map(step_of, _run_and_checkpoints(start)[1]):
            raise
        say(f"remark: what was kept of {start} in {source} is damaged; {start} itself is read")
        return _branch_of(start, settings, step_of(kept))


def _branch_of(source: Path, settings: dict, at: int | None = None) -> Branch:
    """Off the newest whole checkpoint of a run, or off that of one step."""
    run, found = _run_and_checkpoints(source)
    there = read_config(run)
    if "method" not in there:
        cause = "is no pretraining run, whose state could be gone on with"
        raise UserError("RUN", run, cause, "give the folder of one that `medssl pretrain` wrote")
    there["optim"] = Optim(**there["optim"]).model_dump()  # of a run of before there were schedules
    _refuse_other(run, there, settings)
    asked = (checkpoint for checkpoint in found if at in (None, step_of(checkpoint)))
    whole = ((checkpoint, state) for checkpoint in asked if (state := read_state(checkpoint)))
    checkpoint, state = next(whole, (None, None))
    if state is None:
        raise UserError(
            "CHECKPOINT", run, "holds no complete checkpoint to go on from",
            "give the folder of a pretraining run, or one of its checkpoints/step-...",
        )  # fmt: skip
    step, steps = int(state[1]["step"]), settings["fit"]["steps"]
    if steps <= step:
        raise UserError(
            "CONFIG", "fit.steps",
            f"found {steps}, and {run} has done {step}, which count as the branch's own",
            f"give more, e.g. fit.steps={step + max(1, step // 10)}",
        )  # fmt: skip
    groups = [g for g in state[1]["optimizer"]["param_groups"] if g["scale"]]
    share = max(g["lr"] / (there["optim"]["lr"] * g["scale"]) for g in groups)
    anneals = settings["optim"]["schedule"] == "anneal"
    if anneals and there["optim"]["schedule"] == "cosine":
        _tell_of_cosine(run, step, there["fit"]["steps"], share)
    if anneals and settings["optim"]["final"] >= share:
        raise UserError(
            "CONFIG", "optim.final",
            f"found {settings['optim']['final']:g}, and the rate of {run} is {share:.3g} of lr already",
            "give less, or branch off a run with schedule=infinite",
        )  # fmt: skip
    return Branch(run, checkpoint, step, share)


def _source(start: Path, out: Path) -> Path:
    """What a branch in `out` begins from: `start`, or what it has kept of it."""
    kept = Path(out) / ORIGIN
    return kept if begun(out) and kept.is_dir() else Path(start)


def _tell_of_cosine(run: Path, step: int, steps: int, share: float) -> None:
    """An anneal is made to follow a constant rate. Raises UserError where a cosine has come to its end."""
    if step >= steps:
        raise UserError(
            "CONFIG", run, f"has come to the end of its cosine schedule, at {share:.2g} of lr: no rate is "
            "left to anneal", "branch off a run with optim.schedule=infinite or, for a second cosine that "
            "warms up again, give branch=true optim.schedule=cosine",
        )  # fmt: skip
    say(
        f"remark: {run} was on its way down a cosine, at {share:.2g} of lr in step {step}: an anneal from "
        "there is not what it is after the constant rate of optim.schedule=infinite"
    )


def _run_and_checkpoints(start: Path) -> tuple[Path, list[Path]]:
    """The run's folder, and the checkpoints that may be meant, the newest first."""
    if start.parent.name == "checkpoints" and not (start / "config.json").exists():
        return start.parent.parent, [start]
    return start, checkpoints(start / "checkpoints")[::-1]


def _refuse_other(run: Path, there: dict, now: dict) -> None:
    if there["optim"]["schedule"] == "anneal":
        raise UserError(
            "CONFIG", run, "was annealed, and has no rate to go on with",
            "branch off the run that it came from",
        )  # fmt: skip
    a, b, own = flat(there), flat(now), OWN if now["optim"]["schedule"] == "infinite" else OWN | LED
    different = [
        key
        for key in sorted(set(a) | set(b))
        if key.startswith(SAME) and key not in own and a.get(key) != b.get(key)
    ]
    if different:
        key = different[0]
        raise UserError(
            "CONFIG", ", ".join(different[:5]),
            f"a branch goes on with what {run} had: there {key}={a.get(key)}, now {b.get(key)}",
            "leave out these keys, or the preset that sets them: a branch takes its run's; without branch "
            "and schedule=anneal start= takes the backbone alone",
        )  # fmt: skip
