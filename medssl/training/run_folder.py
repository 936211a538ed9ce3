"""A run's folder: which config it belongs to, and that one process at a time writes there."""

import errno
import json
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

from medssl.config import flat
from medssl.data.files import NO_LOCKS, write_json
from medssl.errors import UserError, one_line
from medssl.progress import say

# What may differ between a run and its continuation: of these only another number of threads, and
# weights that are sharded or no longer so, can change bits of the result, which the loop then says.
LOGS = ("metrics.jsonl", "timing.jsonl")
WEIGHTS = Path("model/weights.safetensors")
NOT_KEPT = Path("model/weights.not-kept")  # stands for weights that were left out on purpose
_mine: set[Path] = set()  # folders that this process holds
SHOWN = 5  # keys in an error
FREE = {
    "out", "profile", "fit.workers", "fit.wait", "fit.threads", "fit.track", "fit.devices",
    "fit.other_ranks", "fit.shard",
}  # fmt: skip


@contextmanager
def opened(folder: Path, config: dict, raised: Set[str] = frozenset()) -> Iterator[None]:
    """Hold a run's folder, new or to be resumed; `raised` are keys that may be more than they were.

    Raises UserError when the folder belongs to another config or another process holds it.
    """
    import fcntl

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a") as lock:
        try:
            # Not flock: a loader's worker would inherit it, and hold it on after a kill.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(
                    "LOCKED", folder, "another process is writing to this run",
                    "wait for it, or choose another out=",
                ) from error  # fmt: skip
            say(f"remark: {folder} lies where files cannot be locked: see to it that one process alone "
                "trains there")  # fmt: skip
        if had := begun(folder):
            before, now = read_config(folder), flat(config)
            more = {key for key in raised if _more(now[key], flat(before).get(key))}
            end = _earlier if "fit.steps" in raised else _later
            refuse_other(folder, before, config, FREE | more, {"fit.steps": end(folder, now)})
        else:  # what was asked before, if anything, has come to nothing
            for log in LOGS:
                (folder / log).unlink(missing_ok=True)
        if not had or more:
            write_json(folder / "config.json", config, private=True)
        _mine.add(folder.resolve())
        try:
            yield
        except KeyboardInterrupt as stop:
            if not stop.args:  # otherwise the loop has saved its step, and said so
                say("stopped; the same command goes on from the last checkpoint")
            raise
        finally:
            _mine.discard(folder.resolve())


def begun(folder: Path) -> bool:
    """Whether there is anything in a run's folder that training has made."""
    folder = Path(folder)
    return (folder / "model").exists() or bool(checkpoints(folder / "checkpoints"))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, from the first step to the last; other names, as of copies, are none."""
    found = {
        step: path for path in Path(folder).glob("step-*") if (step := step_of(path)) is not None
    }
    return [found[step] for step in sorted(found)]


def step_of(checkpoint: Path) -> int | None:
    """The step that a checkpoint's name tells; None for the name of something else."""
    found = re.fullmatch(r"step-(\d{8,})", checkpoint.name, re.ASCII)
    return int(found[1]) if found else None


def held(folder: Path) -> bool:
    """Whether another process is writing to a run; one of this process is not seen."""
    # Whoever closes a file loses all locks that the process has of it.
    return Path(folder).resolve() not in _mine and locked(Path(folder) / ".lock")


def locked(path: Path) -> bool:
    """Whether another process has locked a file; the locks that this one has of it are lost."""
    import fcntl

    if not path.exists():
        return False
    with open(path) as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return False
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            return True
    return False


def _more(now: object, before: object) -> bool:
    return isinstance(before, int | float) and now > before


def _earlier(folder: Path, asked: dict) -> str:
    """How to have an earlier end of a pretraining that goes on: by a branch; "" of another run."""
    steps = [step_of(path) for path in checkpoints(folder / "checkpoints")]
    if "method.name" not in asked or not steps:
        return ""
    # Of the checkpoints that are kept the last one before the asked end; failing that, the first.
    step = max((s for s in steps if s < asked["fit.steps"]), default=min(steps))
    end = asked["fit.steps"] if asked["fit.steps"] > step else step + max(1, step // 10)
    return (
        f"a run is not shortened; to end it early, anneal a branch: start={folder}/checkpoints/"
        f"step-{step:08d} optim.schedule=anneal fit.steps={end}, in another out="
    )


def _later(folder: Path, asked: dict) -> str:
    """How to have a pretraining go on whose schedule comes to its end; "" of another run."""
    if "method.name" not in asked:
        return ""
    return (
        f"its schedule ends where it was asked to; to train on, branch off it: start={folder} branch=true "
        f"fit.steps={asked['fit.steps']}, in another out= (optim.schedule=infinite has no such end)"
    )


def finished(folder: Path) -> Path:
    """The folder, if training left a model there: a run that had ended makes none again."""
    if not (Path(folder) / "model").is_dir():
        raise UserError(
            "RUN", folder, "training has ended, and model/ is not there",
            "delete the folder and train again, or restore model/ from a copy",
        )  # fmt: skip
    return folder


def read_config(folder: Path) -> dict:
    """The resolved config of a run. Raises UserError when the folder holds none."""
    path = Path(folder) / "config.json"
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("it holds no settings")
        return found
    except (OSError, ValueError) as error:
        cause = f"holds no readable config.json ({one_line(error)})"
        raise UserError("RUN", folder, cause, "give the folder of a run") from error


def refuse_other(
    folder: Path, old: dict, new: dict, free: Set[str] = FREE, fixes: Mapping[str, str] | None = None
) -> None:  # fmt: skip
    """Raise UserError CONFIG where a folder's settings are not those that are asked for now, but for the
    keys that are `free` to differ. `fixes` say what to do where one key alone differs."""
    if old.keys() != new.keys():
        cause = "is the folder of a run of another verb, or of another version of medssl"
        raise UserError("CONFIG", folder, cause, "choose another out=")
    a, b = flat(old), flat(new)
    different = sorted(k for k in set(a) | set(b) if a.get(k) != b.get(k) and k not in free)
    if different:
        fix = (fixes or {}).get(different[0]) if len(different) == 1 else ""
        told = [f"{k} (there {a.get(k)}, now {b.get(k)})" for k in different[:SHOWN]]
        more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
        raise UserError(
            "CONFIG", folder, f"belongs to a run with other settings: {', '.join(told)}{more}",
            fix or "choose another out=, or give the same settings to resume",
        )  # fmt: skip
