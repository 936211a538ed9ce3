"""Which run is the best of its kind."""

from math import isnan
from pathlib import Path
from typing import NamedTuple

from medssl.errors import UserError
from medssl.evaluation.baseline import Baseline
from medssl.evaluation.headline import headline, higher_is_better
from medssl.privacy import printable
from medssl.progress import say
from medssl.stages.runs.listing import VALIDATION, by_number, few_of
from medssl.training.card import figure_of
from medssl.training.run import Run
from medssl.training.study_folder import Study

TEST = "test"
FIGURES = 12, "; "  # so many are named; they hold commas of their own
RANKED = 10  # are named of a kind


def best(runs: list[Run | Study], asked: str, folder: Path) -> Path | None:
    """Print the best run of each kind; its folder if there is one kind only."""
    where, _, figure = asked.partition(" ")
    known = dict.fromkeys(
        name for run in runs if isinstance(run, Run) and run.evaluation for name in run.evaluation.metrics
    )  # fmt: skip
    some = f": {few_of(known, *FIGURES)}" if known else ""
    name = asked if asked in known else "NAME"
    if where not in (VALIDATION, TEST) or (figure and where == VALIDATION):
        raise UserError(
            "CONFIG", f"figure={asked}", "is neither validation nor a figure of test",
            "leave figure out, or, to choose by cases that were to be left alone, give figure=test or "
            f"figure='test {name}', by a name that an evaluation gives{some}",
        )  # fmt: skip
    if figure and known and figure not in known:
        raise UserError(
            "CONFIG", f"figure={asked}", "no evaluation gives it", f"name one that is there{some}"
        )
    kinds: dict[tuple, list[Judged]] = {}
    left_out = []
    for each in runs:
        found = _judged(each, where, figure)
        if isinstance(found, str):
            left_out.append(f"not compared: {each.folder} ({found})")
        else:
            kinds.setdefault(found.question, []).append(found)
    chosen = [_best_of(judged) for judged in kinds.values()]
    if len(kinds) > 1:
        say(f"these are {len(kinds)} kinds, whose figures cannot be compared with one another")
    for words in left_out:
        say(words)
    if not chosen:
        raise UserError(
            "EMPTY", folder, f"no run has a {where} figure to be judged by",
            "fine-tune with validation scans, or run `medssl evaluate` on the runs; those of a study lie in "
            "its folder finetune",
        )  # fmt: skip
    if where == TEST:
        say(
            "CAUTION: chosen by cases that were to be left alone: of the run chosen, their figures are now "
            "too good. Report others, or choose by validation"
        )
    else:
        say("chosen by validation; no test case had a say. The score has no interval")
    if len(chosen) == 1:
        return chosen[0]
    for path in chosen:
        print(printable(str(path)))
    return None


class Judged(NamedTuple):
    """`question` is the same for runs whose scores can be compared, `asked` is it in words."""

    run: Run
    question: tuple
    asked: str
    score: float
    higher: bool


def _best_of(judged: list[Judged]) -> Path:
    """Say how they rank; the folder of the first."""
    judged = sorted(judged, key=lambda j: by_number(str(j.run.folder)))
    ranked = sorted(judged, key=lambda j: -j.score if j.higher else j.score)
    first = ranked[0]
    say(f"{first.asked}, {'higher' if first.higher else 'lower'} is better:")
    learnt_from = sorted({each.run.card.trained_on for each in ranked})
    for each in ranked[:RANKED]:
        state = (
            [] if each.run.state == "finished" else [f"{each.run.state} at step {each.run.steps}"]
        )
        if len(learnt_from) > 1:
            state.insert(0, f"{each.run.card.trained_on} labelled scans")
        words = ", ".join(state + each.run.marks)
        say(f"  {each.score:z.4f}  {each.run.folder}" + (f" ({words})" if words else ""))
    if len(ranked) > RANKED:
        say(f"  and {len(ranked) - RANKED} more, down to {ranked[-1].score:z.4f}")
    if len(learnt_from) > 1:
        say(
            f"  CAUTION: they learnt from {', '.join(map(str, learnt_from))} labelled scans: more labels "
            "mostly score higher, whatever a run starts from. What helps with few is told among runs of as "
            f"many: labelled={learnt_from[0]}"
        )
    if not first.run.kept:
        say(
            "  of the first the weights were not kept, as a study keeps none without keep=true: "
            "`medssl runs show` gives the command that makes them again"
        )
    if sum(j.score == first.score for j in ranked) > 1:
        say("  several are equally good; the first of them is given")
    if len(ranked) == 1:
        say("  the only one of its kind")
    return first.run.folder


def _judged(run: Run | Study, where: str, figure: str) -> Judged | str:
    """What a run was asked and how well it answered, or why that cannot be told."""
    if isinstance(run, Study):
        see = f"see {run.report}, or " if run.state == "finished" else ""
        return f"a study: {see}give {run.folder}/finetune"
    if run.faults:
        return "; ".join(run.faults)
    if run.verb != "finetune":
        return "without labels there is no such score: medssl probe it, or fine-tune from it"
    if not run.card:
        return "it has no model yet"
    classes = list(run.card.classes.values())
    about = (run.name, *run.card.target, *classes)
    words = f"{run.name}, {', '.join(run.card.target) or few_of(classes)}"
    if where == VALIDATION:
        if run.card.validation is None or isnan(run.card.validation):
            return "it has no validation score"
        scans = run.config.scans.get(VALIDATION)
        if scans is None:
            return "its config.json, which knows the validation scans, is not there"
        # The score is taken on prepared scans, and of boxes on those that were made of masks.
        read = (run.config.boxes_of_masks, run.config.smallest, str(run.card.recipe))
        n = len(run.card.patients.get(VALIDATION, []))
        figure = figure_of(run.card.model_dump())
        words += f", by validation {figure} on scans of the same {n} patients"
        return Judged(run, (*about, scans, *read), words, run.card.validation, True)
    if not run.evaluation:
        return f"it has no evaluation: medssl evaluate {run.folder}"
    for grave in ("test seen", "other weights"):
        if grave in run.warnings:
            return run.warnings[grave]
    scored = Baseline.read(run.folder / "evaluation")
    name = figure or headline(scored.cases)[0]
    found = run.evaluation.metrics.get(name)
    if found is not None and isnan(found.estimate):
        return f"its {name} is not defined"
    if found is None:
        return f"it has no {name}; there are {few_of(run.evaluation.metrics, *FIGURES)}"
    words += f", by {name} of the same {found.n_cases} cases of {run.evaluation.split}"
    return Judged(
        run, (*about, name, scored.question), words, found.estimate, higher_is_better(name)
    )
