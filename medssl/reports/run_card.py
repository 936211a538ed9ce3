"""A run or a study in words, for the terminal."""

import math
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from medssl.privacy import printable
from medssl.reports.scores import probability

HEALTH = ("spread", "rank", "rankme", "line", "dead", "norm", "alignment", "uniformity")
MOST_FIGURES = 12
WIDTH, INDENT = 100, 13


def text(run, log: list[dict], said: tuple[str, list[str]] | None) -> str:
    """What it is, started from and saw, its settings, health and figures, the command, and warnings.

    run   a `Run` of the registry
    log   the rows of its metrics.jsonl
    said  the preset and the words that give its config again; None where no words do
    """
    lines = [f"{run.folder}: {' '.join(filter(None, [run.verb, run.name])) or 'a run'}", ""]
    for name, words in {
        "state": _state(run),
        "start": run.origin,
        "network": _network(run),
        "learns": _learns(run),
        "data": _data(run),
        "recipe": str(run.card.recipe) if run.card else "",
        "cohort": run.card.cohort if run.card else "",
        "made with": _versions(run),
        "settings": _settings(said),
        "health": _health(log, run.card.figure if run.card else ""),
        "figures": _figures(run),
        "WARNING": list(run.warnings.values()),
    }.items():
        lines += _paragraph(name, [words] if isinstance(words, str) else words)
    for name, words in {"command": _command(run, said), "next": _next(run)}.items():
        lines += ["", f"{name}:", printable(words)] if words else []  # whole, to be copied
    return "\n".join(lines)


def of_study(study, said: tuple[str, list[str]] | None) -> str:
    """A `Study` of the registry in words: what it compares, how far it is, the command, and its report."""
    asked, done = study.config, study.state == "finished"
    before = "of before it was asked for more" if study.report.exists() else "not written yet"
    runs = f"{study.done} of {study.asked} fine-tunings"
    lines = [f"{study.folder}: study", ""]
    for name, words in {
        "state": f"{study.state}, {runs}; {study.date}",
        "store": asked.store + ("" if Path(asked.store).exists() else " (not found from here)"),
        "arms": f"{'; '.join(study.arms)}: each against the same network from scratch",
        "labelled": f"{study.labelled}; {_count(asked.draws, 'draw')}"
        f"{' (of all: one)' * (0 in asked.labelled)}, {_count(asked.seeds, 'seed')}",
        "report": str(study.report) if done else f"{before}: the command goes on from there",
        "runs": f"medssl runs ls {shlex.quote(str(study.folder))}/finetune",
    }.items():
        lines += _paragraph(name, [words])
    lines += _paragraph("gains", _gains(study.end.gains))
    lines += _paragraph("WARNING", [*study.end.cautions, study.end.fault])
    return "\n".join([*lines, "", "command:", printable(_command(study, said))])


def _gains(gains: list) -> list[str]:
    """A line an arm; `gains` are those that a `Study` keeps."""
    said: dict[str, list[str]] = {}
    for gain in gains:
        words = (
            f"{gain.estimate:+z.3f} ({gain.low:z.3f} to {gain.high:z.3f}; p {probability(gain.p)})"
        )
        if math.isnan(gain.estimate):
            words = "not defined"
        if not gain.judged:
            words = "not judged, as next to nothing was learnt,"
        said.setdefault(gain.arm, []).append(f"{words} with {gain.labelled}")
    told = [f"{arm}: {', '.join(words)}" for arm, words in said.items()]
    return told + ["95 % intervals over patients; p corrected for all of these"] * bool(told)


def _paragraph(name: str, words: Sequence[str]) -> list[str]:
    """Lines under one name; nothing where there are no words."""
    wrapped = []
    for each in filter(None, words):
        wrapped += textwrap.wrap(
            printable(each), WIDTH - INDENT, subsequent_indent="  ", break_long_words=False,
            break_on_hyphens=False, drop_whitespace=True,
        )  # fmt: skip
    heads = [name, *[""] * (len(wrapped) - 1)]
    return [f"{head:<{INDENT}}{line}".rstrip() for head, line in zip(heads, wrapped, strict=False)]


def _state(run) -> list[str]:
    words = f"{run.state}, {run.steps} of {run.asked} steps"
    if run.ended_early:
        words += ", as validation gained no more"
    found = [f"{words}; {run.date}"]
    if run.card and run.verb == "finetune":
        score = run.card.validation
        figure = run.card.figure or "score"
        told = f", whose validation {figure} was {score:z.4f}" if score is not None else ""
        which = f"of step {run.card.steps}{told}"
        dropped = "the weights were not kept, the command makes them again; they were"
        found.append(f"the weights kept are those {which}" if run.kept else f"{dropped} {which}")
    return found


def _network(run) -> str:
    if not run.card:
        return ""
    options = run.values.get("backbone" if run.verb == "pretrain" else "arch")
    more = {k: v for k, v in options.items() if k != "name"} if isinstance(options, dict) else {}
    given = ", ".join(f"{k} {v}" for k, v in more.items())
    return run.card.backbone.name + (f" ({given})" if given else "")


def _learns(run) -> str:
    if not run.card or run.verb != "finetune":
        return ""
    classes, target = run.card.classes, run.card.target
    of = f"{', '.join(target)}: " if target else ""
    return of + ", ".join(f"{k} {v}" for k, v in classes.items())


def _data(run) -> list[str]:
    if not run.card:
        return []
    told = {"pretrain": "pretrained on", "train": "trained on", "validation": "chosen by"}
    found = []
    for part, words in told.items():
        patients, scans = run.card.patients.get(part, []), run.card.scans.get(part, [])
        if patients:
            found.append(
                f"{words} {_count(len(scans), 'scan')} of {_count(len(patients), 'patient')}"
            )
    if run.values.get("selection"):
        found.append(f"of a selection: {run.values['selection']}")
    return found


def _versions(run) -> str:
    return ", ".join(f"{k} {v}" for k, v in run.card.versions.items()) if run.card else ""


def _settings(said) -> str:
    if said is None:
        return "those of config.json, which this version has no words for"
    preset, words = said
    base = f"preset {preset}" if preset else "the defaults"
    return f"{base}, but for {' '.join(words)}" if words else base


def _health(log: list[dict], validated: str) -> list[str]:
    """The first and the last look at each figure of the log that tells how training went; `validated` is
    what the validation score is."""
    found = []
    names = [n for n in log[0] if n.startswith("knn_")] if log else []
    for name in ("loss", "validation", *HEALTH, *names):
        told = [(r["step"], r[name]) for r in log if isinstance(r.get(name), int | float)]
        if not told:
            continue
        (first, before), (last, after) = told[0], told[-1]
        called = f"validation {validated}".strip() if name == "validation" else name
        words = f"{called} {before:.4g} at step {first}"
        if len(told) > 1:
            words += f", {after:.4g} at step {last}"
        if chance := log[0].get(name.replace("knn_", "chance_")) if name in names else None:
            words += f" (chance {chance:.4g})"
        found.append(words)
    return found


def _figures(run) -> list[str]:
    found = []
    if run.evaluation:
        scored = run.evaluation
        found.append(
            f"of {scored.split}, {_count(scored.n_patients, 'patient')}, 95 % intervals over patients:"
        )
        first = scored.headline[0] if scored.headline else ""
        names = sorted(scored.metrics, key=lambda n: (n != first, "mean of classes" not in n))
        wide = max(map(len, names[:MOST_FIGURES]), default=0)
        for name in names[:MOST_FIGURES]:
            figure = scored.metrics[name]
            words = "not defined" if math.isnan(figure.estimate) else str(figure)
            found.append(f"{name:<{wide}}  {words}".replace("  ", "\N{NO-BREAK SPACE}" * 2))
        if len(names) > MOST_FIGURES:
            found.append(f"and {len(names) - MOST_FIGURES} more in evaluation/metrics.json")
    for name, probe in run.probe.items():
        found.append(
            f"probe {name}: {probe.pretrained}, untrained {probe.untrained}, difference "
            f"{probe.difference}, chance {probe.chance:.3f}"
        )
    return found


def _command(run, said) -> str:
    if said is None:
        return ""
    preset, words = said
    out = f"out={shlex.quote(str(run.folder))}"
    return " ".join(["medssl", run.verb, *filter(None, [preset]), *words, out])


def _next(run) -> str:
    if run.state == "stopped":
        return "the command goes on from there"
    scored = run.evaluation and not run.stale
    if run.state == "finished" and run.verb == "finetune" and run.kept and not scored:
        return f"medssl evaluate {shlex.quote(str(run.folder))}"
    if run.state == "finished" and run.verb == "pretrain" and not run.probe:
        folder, store = (shlex.quote(str(path)) for path in (run.folder, run.values.get("store")))
        return f"medssl probe {folder} store={store}"
    return ""


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
