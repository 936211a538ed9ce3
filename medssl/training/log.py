"""A run's figures: `metrics.jsonl`, one JSON object a line, the same bytes for the same run."""

import json
import math
import os
from pathlib import Path

from medssl.data.files import NO_ROOM, no_room, write_atomically
from medssl.errors import one_line
from medssl.progress import say
from medssl.training.trackers import Tracker


class MetricsLog:
    """Appends figures; `rewind` drops what was logged after the checkpoint a run resumes from.

    Times are kept apart in `timing.jsonl`, so that `metrics.jsonl` depends on nothing but the run. A
    tracker is given the same figures.
    """

    def __init__(self, folder: Path, tracker: Tracker | None = None, writes: bool = True):
        self.metrics, self.timing = folder / "metrics.jsonl", folder / "timing.jsonl"
        self.tracker = tracker if writes else None
        self.writes = writes  # one of several ranks does

    def write(self, step: int, **figures: float) -> None:
        written = {k: _short(v) for k, v in figures.items()}
        self._append(self.metrics, {"step": step, **written})
        if self.tracker:
            self.tracker.write(step, {k: v for k, v in written.items() if v is not None})

    def time(self, step: int, **figures: float) -> None:
        self._append(self.timing, {"step": step, **{k: _short(v) for k, v in figures.items()}})

    def spent(self) -> tuple[float, int]:
        """Seconds and samples of the run until now, over all its sittings."""
        rows = read_jsonl(self.timing) if self.timing.exists() else []
        last = rows[-1] if rows else {}
        return last.get("seconds", 0.0), int(last.get("samples", 0))

    def rewind(self, step: int, due: bool = False, branch: bool = False) -> None:
        """Drop what came after `step`; if a Moment is `due`, also what it wrote of that step. What a
        `branch` did until then stands in the log of the run that it came from."""
        for path in (self.metrics, self.timing) if self.writes else ():
            if path.exists():
                lines = [line for line in read_jsonl(path) if line["step"] <= step]
                if due and path == self.metrics:  # the loop's own line of a step is the first
                    own = (n for n, line in enumerate(lines, start=1) if line["step"] == step)
                    lines = lines[: next(own, None)]
                text = "".join(json.dumps(line) + "\n" for line in lines)
                write_atomically(path, lambda p, text=text: p.write_text(text))
        last = max((row["step"] for row in self.rows()), default=0)
        if last < step and not branch:
            say(
                f"remark: metrics.jsonl ends at step {last}: what it held until step {step} is lost"
            )

    def sync(self) -> None:
        """Have all that was written on disk."""
        for path in (self.metrics, self.timing):
            if path.exists():
                with open(path, "rb+") as stream:
                    os.fsync(stream.fileno())

    def rows(self) -> list[dict]:
        return read_jsonl(self.metrics) if self.metrics.exists() else []

    def _append(self, path: Path, row: dict) -> None:
        if not self.writes:
            return
        try:
            with open(path, "a") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise no_room(
                path.parent, f"{path.name} cannot be written ({one_line(error)})"
            ) from error


def read_jsonl(path: Path) -> list[dict]:
    """The complete lines of a log, up to one that was torn by a kill or is none of a log."""
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break  # the rest of the file was being written when the run was killed
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows


def minutes_of(run: Path) -> float:
    """How long a run has trained, over all its sittings."""
    return MetricsLog(run).spent()[0] / 60


def since_best(scores: list[float]) -> int:
    """How many validations have come after the best one."""
    return len(scores) - 1 - scores.index(max(scores))


def _short(value: float) -> float | None:
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None
