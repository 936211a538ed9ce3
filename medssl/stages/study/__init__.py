"""Did pretraining help, and how many labels does it save? Arms by numbers of labels, paired.

Every arm (a method that is pretrained here, or a backbone that was) is fine-tuned on the same few labelled
scans, for the same number of steps, as the same network from scratch; fewer labels are part of more, by
patient. With `trials` every arm tries as many settings, and validation scans choose, for each number of
labels. Writes report.html, curve.png, table.csv (a row a fine-tuning), curve.csv, differences.csv,
needed.csv, shares.csv, losses.csv (of these five nothing is to be read off rows that are not `judged`),
figures.csv, cases.parquet (every test case of every fine-tuning), cost.csv, and study.json (when it ended,
and its cautions).

Killed and started again it goes on, and ends in the same tables. The same command may be given many times at
once, on one machine (`jobs=4` does so) or on a cluster whose nodes share the folder: each takes what the
others have not. On Slurm: sbatch --array=1-8 --wrap "medssl study ... out=study".
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from medssl.config import Config as Base
from medssl.config import Count, merge
from medssl.data.files import write_json
from medssl.errors import UserError
from medssl.evaluation.metrics import TOLERANCE_MM
from medssl.evaluation.titles import title
from medssl.progress import say
from medssl.reports import efficiency
from medssl.reports import study as report
from medssl.stages.study import arms as of_arms
from medssl.stages.study import cells as of_cells
from medssl.stages.study.arms import SCRATCH, Arm, Start
from medssl.stages.study.cells import Cell
from medssl.stages.study.checks import check, refuse_of_a_run
from medssl.stages.study.telling import tell
from medssl.training import run_folder, study_folder
from medssl.training.checkpoint import drop_weights
from medssl.training.claims import Job, claimed, work_off
from medssl.training.hardware import shared_by
from medssl.training.run_folder import WEIGHTS

GROWS = {"labelled", "draws", "seeds"}  # more of them are more of the same fine-tunings
RESTS_ON = "rests_on.json"  # what stands for the labelled scans and backbones that it began with
# These may differ when it goes on.
FREE = GROWS | {"out", "jobs", "keep", "figure", "by", "resamples", "finetune.allow_overlap"}


class Config(Base):
    examples: ClassVar = (
        "medssl study store=store methods=voco,spark labelled=2,4,8,16 out=study",
        "medssl study store=store backbones=runs/voco,runs/mae jobs=2 out=study",
        "medssl study store=films methods=simclr_2d labelled=20,100,0 out=study "
        "finetune.preset=classification finetune.target=label_class",
    )
    store: Path = Field(Path("store"), description="folder that `medssl prepare` wrote")
    out: Path = Field(Path("study"), description="folder for all that is written")
    methods: list[str] = Field(
        [],
        description="an arm for each preset of `medssl pretrain`, beside those of a preset of study (only= "
        "says which); a+b: b goes on from a",
    )
    backbones: list[Path] = Field(
        [],
        description="an arm for each run that was pretrained before; one called as an arm of a preset "
        "stands for it",
    )
    arms: dict[str, Arm] = Field(
        {}, description="arms by name: pretrain (presets) and keys, or backbone; finetune"
    )
    only: list[str] = Field([], description="arms of a preset that take part; empty: all")
    labelled: list[Annotated[int, Field(ge=0)]] = Field(
        [2, 4, 8, 16], description="labelled scans to fine-tune on; 0: all", min_length=1
    )
    draws: Count = Field(3, description="of these scans; of all of them there is one")
    seeds: Count = Field(1, description="fine-tunings of each draw")
    pretrain: dict[str, Any] = Field(
        {}, description="keys of every pretraining: pretrain.fit.steps=400"
    )
    minutes: float = Field(
        0, description="of every pretraining, some steps timed first; 0: as presets say", ge=0
    )
    finetune: dict[str, Any] = Field(
        {}, description="preset (few_labels) and keys of every fine-tuning: finetune.fit.steps=150"
    )
    trials: list[dict[str, Any]] = Field(
        [], description="keys of fine-tuning that every arm tries: '[{optim: {lr: 4e-3}}, ...]'"
    )
    scratch_trials: list[dict[str, Any]] = Field(
        [], description="as many for the arm from scratch; empty: the same"
    )
    trial_draws: Count = Field(1, description="draws whose validation scores choose among trials")
    split: str = Field("test", description="which scans to score")
    figure: str = Field("", description="which figure to compare; empty: the main one of the task")
    tolerance: float = Field(
        TOLERANCE_MM, description="mm within which outlines agree, of NSD", gt=0
    )
    by: list[str] = Field([], description="label columns: gains of each of their values apart")
    jobs: Count = Field(1, description="processes on this machine")
    keep: bool = Field(False, description="keep the weights of every fine-tuning")
    resamples: int = Field(10000, description="bootstrap samples of the intervals", ge=1000)
    seed: int = Field(0, description="of the pretrainings and the bootstrap", ge=0)

    @field_validator("labelled")
    @classmethod
    def _each_once(cls, labelled: list[int]) -> list[int]:
        return list(dict.fromkeys(labelled))

    @model_validator(mode="before")
    @classmethod
    def _not_of_a_run(cls, values: dict) -> dict:
        refuse_of_a_run(values, set(cls.model_fields))
        return values


def run(config: Config) -> Path:
    arms, chains, rests_on = asked(config)
    config.out.mkdir(parents=True, exist_ok=True)
    if not _begun(config.out):
        write_json(config.out / RESTS_ON, rests_on)
    told = config.model_dump(mode="json")
    before = run_folder.read_config(config.out) if _begun(config.out) else {}
    if any(before.get(key) != told[key] for key in GROWS):
        write_json(config.out / "config.json", told, private=True)
    with _others(config):
        _work("pretraining", {of_arms.mark_of(c): partial(of_arms.pretrained, c, config.minutes)
                              for c in chains.values()})  # fmt: skip
        starts, baselines = of_arms.starts(arms, chains, of_arms.networks(arms, chains))
        cells = cells_of(config, starts)
        tried = [cell for cell in cells if on_trial(config, cell)]
        _work("trial", {c.folder / "trained.json": partial(of_cells.train, c) for c in tried})
        validations = of_cells.validations(tried)
        best = {at: max(scores, key=scores.get) for at, scores in validations.items()}
        chosen = [c for c in cells if c.trial == best.get(c.at, 0)]
        spare = [c for c in tried if c.trial != best[c.at]]
        if not config.keep:
            for cell in spare:
                drop_weights(cell.folder)
        about = {"split": config.split, "tolerance": config.tolerance, "keep": config.keep}
        score = partial(of_cells.score, **about)
        _work("fine-tuning", {c.folder / "scored.json": partial(score, c) for c in chosen})
    if config.keep and (gone := sum(not (c.folder / WEIGHTS).exists() for c in chosen)):
        say(
            f"remark: keep=true came when {gone} fine-tunings were scored: their weights are not kept"
        )
    with claimed(config.out / "report.html") as mine:
        if mine:  # else another of the same study is writing it
            told = tell(config, starts, baselines, chains, chosen, spare, validations)
            cautions = report.cautions(told)
            study_folder.write_end(config.out, cautions, told.gains)
            report.write(config.out, told)
            say(f"study: {title(told.main)}, against training from scratch:")
            for line in [*report.beginning(told), *efficiency.verdicts(told.study, told.idle)]:
                say(line)
            for caution in cautions:
                say(f"remark: {caution}")
    return config.out / "report.html"


def asked(config: Config) -> tuple[dict[str, Arm], dict[str, of_arms.Chain], dict[str, str]]:
    """The arms, their pretrainings, and what stands for all that is given (see `check`). Raises UserError for
    what no run would take, and for the folder of another study, or of one that began with something else."""
    arms = of_arms.named(config.methods, config.backbones, config.arms, config.only)
    keys = merge({"store": str(config.store), "fit": {"seed": config.seed}}, config.pretrain)
    folder = config.out / "pretrain"
    chains = {n: of_arms.chain_of(n, a, keys, folder) for n, a in arms.items() if a.pretrain}
    anywhere = [Start(name, Path("run"), False, arm.finetune) for name, arm in arms.items()]
    cells = cells_of(config, [Start(SCRATCH, Path("run"), True, {}), *anywhere])
    rests_on = check(config, arms, chains, cells, any(on_trial(config, cell) for cell in cells))
    if _begun(config.out):
        told = config.model_dump(mode="json")
        try:
            run_folder.refuse_other(config.out, run_folder.read_config(config.out), told, FREE)
        except UserError as error:
            marks = [of_arms.mark_of(chain) for chain in chains.values()]
            ready = ",".join(str(mark.parent) for mark in marks if mark.exists())
            more = f"; backbones={ready}, in place of methods, arms, pretrain and minutes, takes over there "
            more = f"{more}what is pretrained here" if ready else ""
            raise UserError(error.code, error.where, error.cause, error.fix + more) from error
        _refuse_changed(config.out, rests_on)
    return arms, chains, rests_on


def _refuse_changed(folder: Path, rests_on: dict[str, str]) -> None:
    """Raise UserError STALE where what a study rests on is no longer what it began with."""
    if not (folder / RESTS_ON).exists():  # it began before this was kept
        return
    before = json.loads((folder / RESTS_ON).read_text())
    if changed := [name for name, digest in rests_on.items() if before.get(name, digest) != digest]:
        named = ", ".join("the labelled scans" if name == "scans" else name for name in changed)
        raise UserError(
            "STALE", folder, f"what it began with has changed since ({named}): results of before and new "
            "ones would not be pairs",
            "choose another out=; backbones= takes over there what is pretrained here",
        )  # fmt: skip


def _begun(folder: Path) -> bool:
    """Whether a study has got further than a command that was wrong: it has trained something."""
    trained = [*folder.glob("pretrain/*/metrics.jsonl"), *folder.glob("finetune/*/*")]
    return bool(trained) and (folder / "config.json").exists()


def _work(what: str, asked: dict[Path, Callable[[], None]]) -> None:
    """Do all of it, with others, saying how much is done."""

    def told(do: Callable[[], None], mark: Path) -> None:
        done = sum(path.exists() for path in asked)
        say(f"study: {what} {done + 1} of {len(asked)}, {mark.parent.relative_to(mark.parents[2])}")
        do()

    if ready := sum(path.exists() for path in asked):
        say(f"study: {what}: {ready} of {len(asked)} are there already, and are kept")
    work_off([Job(mark, partial(told, do, mark)) for mark, do in asked.items()])


def on_trial(config: Config, cell: Cell) -> bool:
    """Whether its score on validation scans helps to choose among the trials."""
    return len(config.trials) > 1 and cell.draw < config.trial_draws


def cells_of(config: Config, starts: list[Start]) -> list[Cell]:
    """Every fine-tuning of these arms that may be asked for."""
    trials = config.trials or [{}]
    keys = merge({"store": str(config.store)}, config.finetune)
    return of_cells.cells(
        starts, config.labelled, config.draws, config.seeds, keys, trials,
        config.scratch_trials or trials, config.out / "finetune",
    )  # fmt: skip


# A study that is killed takes its jobs along.
JOB = """from medssl.training.pulse import end_with_parent
end_with_parent({})
from medssl.cli import main
main()
"""


@contextmanager
def _others(config: Config) -> Iterator[None]:
    """The same study in `jobs` - 1 processes more, while a block runs; all share the processors."""
    processes, folder = [], config.out / "jobs"
    if config.jobs > 1:
        folder.mkdir(mode=0o700, exist_ok=True)
        asked = folder / "study.yaml"  # JSON is YAML
        write_json(asked, {**config.model_dump(mode="json"), "jobs": 1}, private=True)
    with shared_by(config.jobs) as environment:
        for number in range(1, config.jobs):
            with open(folder / f"{number}.log", "a") as log:
                command = [sys.executable, "-c", JOB.format(os.getpid()), "study", str(asked)]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
                say(
                    f"study: job {number} works beside this one, and says how far it is in {log.name}"
                )
        try:
            yield
        except BaseException:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            raise
        for number, process in enumerate(processes, 1):
            if process.wait():  # what it would have done has been done here
                say(f"remark: job {number} ended early; {folder / f'{number}.log'} says why")
