"""What a study costs: its pretrainings, and a fine-tuning and a scoring of each network, by their number.

Nothing is pretrained: fine-tunings are rehearsed with networks that are not, which takes as long.
"""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medssl.config import Part
from medssl.data.store import Store
from medssl.progress import duration, say
from medssl.stages import evaluate
from medssl.stages import study as studying
from medssl.stages.plan import scans, training
from medssl.stages.plan.answer import Figure, Plan, total
from medssl.stages.plan.rehearsal import in_company
from medssl.stages.plan.room import free_disk, free_memory
from medssl.stages.study.arms import Chain, described, folder_name, mark_of, settings, starts
from medssl.stages.study.cells import Cell
from medssl.training.checkpoint import read_card
from medssl.training.hardware import shared_by
from medssl.training.start import backbone_of

Plans = dict[str, tuple[int, Plan]]


def study(config: studying.Config, folder: Path) -> Plan:
    with shared_by(config.jobs):
        return _study(config, folder)


def _study(config: studying.Config, folder: Path) -> Plan:
    arms, chains, _ = studying.asked(config)
    left = {name: chain for name, chain in chains.items() if not mark_of(chain).exists()}
    with in_company(min(config.jobs, len(left)) - 1):
        pretrainings = [
            _pretrainings(name, chain, config.minutes, folder / folder_name(name))
            for name, chain in left.items()
        ]
    store = Store.read_from(config.store)
    own = {name: settings(*chain[-1]).backbone for name, chain in chains.items()}
    networks = {
        name: described(
            backbone_of(store, None, own[name])[1] if name in own else read_card(arm.backbone)["backbone"]
        )
        for name, arm in arms.items()
    }  # fmt: skip
    every, baselines = starts(arms, chains, networks)
    trainings: Plans = {}
    scorings: Plans = {}
    for scratch in dict.fromkeys(baselines.values()):
        alike = [name for name in arms if baselines[name] == scratch]
        cells = studying.cells_of(config, [s for s in every if s.name in (scratch, *alike)])
        train, score = _left(config, cells)
        if not train and not score:
            continue
        like = "" if len(set(baselines.values())) == 1 else f", as {alike[0]}"
        given = arms[alike[0]].backbone
        there = folder / f"{len(scorings)}"
        with in_company(config.jobs - 1):
            one, its_scoring = _one(config, cells[-1], given, own.get(alike[0]), there)
        trainings[f"fine-tuning{like}"] = train, one
        scorings[f"scoring{like}"] = score, its_scoring
    return _together(config, pretrainings, trainings, scorings)


def _pretrainings(name: str, chain: Chain, minutes: float, folder: Path) -> Plans:
    found: Plans = {}
    for number, (preset, keys) in enumerate(chain):
        called = f"pretraining of {name}" + (f", {preset}" if len(chain) > 1 else "")
        say(called)
        # What it goes on from is not there yet; minutes are asked for, whatever has been done before.
        out = {"out": str(folder / f"{number}-out")} if minutes else {}
        asked = settings(preset, {k: v for k, v in {**keys, **out}.items() if k != "start"})
        plan = training.pretrain(asked, folder / f"{number}", batches=False)
        if minutes:
            told = Figure(60 * minutes / len(chain) + plan.loading, "as asked")
            plan = replace(plan, seconds=told)
        say(f"{called}: {duration(plan.seconds.amount)}")
        found[called] = 1, plan
    return found


def _left(config: studying.Config, cells: Sequence[Cell]) -> tuple[int, int]:
    """How many fine-tunings, and how many scorings, have not been done."""
    alternatives, train, score = defaultdict(list), 0, 0
    for cell in cells:
        alternatives[cell.arm, cell.labelled, cell.draw, cell.seed].append(cell)
    for trials in alternatives.values():
        wanted = len(trials) if studying.on_trial(config, trials[0]) else 1
        done = sum((cell.folder / "trained.json").exists() for cell in trials)
        train += max(0, wanted - done)
        score += not any((cell.folder / "scored.json").exists() for cell in trials)
    return train, score


def _one(
    config: studying.Config, cell: Cell, backbone: Path | None, arch: Part | None, folder: Path
) -> tuple[Plan, Plan]:
    """A fine-tuning and a scoring, of the network of a run or, if there is none, of an architecture."""
    network = {"backbone": backbone} if backbone else {"backbone": None, "arch": arch}
    asked = cell.settings().model_copy(
        update={**network, "from_scratch": False, "out": folder / "out"}
    )
    say("fine-tuning")
    scoring = folder / "scoring"
    scoring.mkdir(parents=True)
    one = training.fine_tuning(asked, folder, batches=False)
    say(f"fine-tuning: {duration(one.seconds.amount)}, of one")
    say("scoring")
    run = next(folder.glob("batch-*/model")).parent
    scored = evaluate.Config(
        run=run, out=folder / "scored", split=config.split, examples_shown=0, allow_overlap=True
    )
    return one, scans.evaluate(scored, scoring)


def _together(
    config: studying.Config, chains: list[Plans], trainings: Plans, scorings: Plans
) -> Plan:
    pretrainings: Plans = {name: plan for chain in chains for name, plan in chain.items()}
    plans = pretrainings | trainings | scorings
    if not plans:
        done = "all has been done"
        memory, disk = Figure(0, done, free_memory()), Figure(0, done, free_disk(config.out))
        return Plan("study", Figure(0, done), memory, disk)
    # Several of them share a process, which loads what they need once.
    once = max(plan.loading for _, plan in plans.values())
    plans = {
        name: (n, replace(plan, seconds=replace(plan.seconds, amount=plan.seconds.amount - plan.loading)))
        for name, (n, plan) in plans.items()
    }  # fmt: skip
    found, jobs = total(plans), config.jobs
    # Fine-tunings begin when all is pretrained.
    seconds = _side_by_side([sum(_seconds(chain, plans)) for chain in chains], jobs)
    seconds += _side_by_side(_seconds(trainings | scorings, plans), jobs)
    # Of a fine-tuning that is done its scores are kept, and its weights if that is asked for.
    at_work = max((plan.disk.amount for _, plan in trainings.values()), default=0)
    kept = sum(n * plan.disk.amount for n, plan in (pretrainings | scorings).values())
    if config.keep:
        kept, at_work = found.disk.amount, 0
    words = found.seconds.rests_on
    if jobs > 1:
        words += f"; by {jobs} jobs, which were tried side by side"
    return replace(
        found, verb="study", seconds=Figure(seconds + once, words),
        memory=replace(found.memory, amount=found.memory.amount * jobs),
        gpu=found.gpu and replace(found.gpu, amount=found.gpu.amount * jobs),
        disk=replace(found.disk, amount=kept + jobs * at_work),
    )  # fmt: skip


def _seconds(some: Plans, plans: Plans) -> list[float]:
    """Of each single one of these what `plans` say."""
    return [plans[name][1].seconds.amount for name, (n, _) in some.items() for _ in range(n)]


def _side_by_side(each: Sequence[float], jobs: int) -> float:
    """Seconds until all is done, where a job takes the next when it is done with one."""
    until = [0.0] * jobs
    for seconds in each:
        heapq.heapreplace(until, until[0] + seconds)
    return max(until)
