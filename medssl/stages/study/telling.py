"""What a study found, as tables, and as the report takes it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from medssl.data.files import write_csv
from medssl.data.manifest import Manifest
from medssl.describe import paths_of, script, words
from medssl.errors import UserError
from medssl.evaluation.baseline import Baseline
from medssl.evaluation.efficiency import efficiency, gains_by_group
from medssl.evaluation.headline import headline, higher_is_better
from medssl.evaluation.intervals import of_unknown_patients
from medssl.evaluation.summary import figure_names
from medssl.evaluation.titles import sentence
from medssl.evaluation.volumes import truth_sizes
from medssl.reports.efficiency import judged
from medssl.reports.study import Told
from medssl.stages import pretrain
from medssl.stages.evaluate.scans import groups_of
from medssl.stages.finetune.labels import scans_of
from medssl.stages.study import arms as of_arms
from medssl.stages.study import cells as of_cells
from medssl.stages.study.arms import Start
from medssl.stages.study.cells import Cell
from medssl.training.checkpoint import read_card

if TYPE_CHECKING:
    from medssl.stages.study import Config

WRITTEN = ("curve", "differences", "needed", "shares", "losses")


def tell(
    config: "Config", starts: list[Start], baselines: dict[str, str],
    chains: dict[str, of_arms.Chain], chosen: list[Cell], spare: list[Cell], validations: dict,
) -> Told:  # fmt: skip
    """Write every table, and return what the report says. `spare` are trials that were not chosen."""
    tables, rows, every = {}, [], []
    first = Baseline(chosen[0].folder, chosen[0].cases, chosen[0].metrics)
    for cell in chosen:
        told = cell.told
        cases = cell.cases
        first.check_kind(cases)
        first.check_truths(cases)
        every.append(cases)
        tables.setdefault((cell.arm, told["labelled"]), []).append(cases)
        rows.append({
            "arm": cell.arm, "labelled": told["labelled"], "draw": cell.draw, "seed": cell.seed,
            "trial": cell.trial, "validation": told["validation"],
        })  # fmt: skip
    main = config.figure or headline(every[0])[0]
    better = {name: 1 if higher_is_better(name) else -1 for name in figure_names(every[0])}
    if main not in better:
        cause = f"found {main!r}, there are {', '.join(better)}"
        raise UserError("CONFIG", "figure", cause, "name one of them")
    store = scans_of(chosen[0].settings())[0].store
    manifest = Manifest.read(store.manifest)
    groups = {name: groups_of(manifest, store.items, name) for name in config.by}
    bootstrapped = {"n": config.resamples, "seed": config.seed}
    figures = efficiency(tables, baselines, better, **bootstrapped)
    subgroups = gains_by_group(tables, baselines, {main: better[main]}, groups, **bootstrapped)
    of_cell = {cell: iter(runs) for cell, runs in figures[main].runs.items()}
    table = pd.DataFrame([r | {"score": next(of_cell[r["arm"], r["labelled"]])} for r in rows])
    idle = [(cell.arm, cell.told["labelled"]) for cell in chosen if cell.idle]
    spent = {
        name: json.loads(of_arms.mark_of(c).read_text()) | of_arms.steps_of(c, config.minutes)
        for name, c in chains.items()
    }
    written = {
        "table": table,
        **{name: judged(figures[main], set(idle), name) for name in WRITTEN},
        "figures": pd.concat([f.curve().assign(figure=name) for name, f in figures.items()]),
        **({"subgroups": subgroups} if config.by else {}),
        "cost": of_cells.costs([*chosen, *spare], spent),
    }
    for name, of in written.items():
        write_csv(config.out / f"{name}.csv", of)
    if not config.by:  # which may have been asked for before
        (config.out / "subgroups.csv").unlink(missing_ok=True)
    about = ["arm", "labelled", "draw", "seed"]
    pd.concat(
        [
            cases.assign(**row)
            for cases, row in zip(every, table[about].to_dict("records"), strict=True)
        ]
    ).to_parquet(config.out / "cases.parquet", index=False)

    few = min(count for _, count in tables)
    first = [cell for cell in chosen if cell.first and cell.told["labelled"] == few]
    ready = {s.name: s.backbone for s in starts if not s.from_scratch}
    pretrained = {n: p for n, p in ready.items() if (p / "metrics.jsonl").exists()}
    return Told(
        figures, main, written["cost"], subgroups, validations,
        trials=(config.trials, config.scratch_trials or config.trials),
        cases={arm: runs[0] for (arm, count), runs in tables.items() if count == few},
        pretrained=pretrained, cards={arm: read_card(path) for arm, path in pretrained.items()},
        whole=0 in config.labelled, some=any(config.labelled), draws=config.draws, tolerance=config.tolerance,
        pictures=_pictures(first),
        cautions=_cautions(chosen, idle), idle=set(idle),
        cohort=manifest.split_as(store.items), card=read_card(first[0].folder),
        commands=_commands(config, chains),
        facts={"seed": config.seed, "resamples": config.resamples},
    )  # fmt: skip


def _cautions(chosen: list[Cell], idle: list[tuple[str, int]]) -> list[str]:
    """What a reader must not miss: nothing learnt, patients that had been trained on or are not known,
    scans that look alike."""
    leaked, alike = set(), {}
    for cell in chosen:
        found = cell.metrics
        if found["trained_on_held_out_patients"]:
            leaked.add(cell.arm)
        if n := found["n_look_alikes_of_training_scans"]:
            alike[cell.arm] = max(n, alike.get(cell.arm, 0))
    said = []
    if idle:
        named = "; ".join(f"{arm} with {count} labels" for arm, count in dict.fromkeys(idle))
        said.append(
            f"{len(idle)} of {len(chosen)} fine-tunings have learnt next to nothing "
            f"({named}): what is compared with them says nothing of pretraining. "
            "Give finetune.fit.steps more."
        )
    if leaked:
        named = "; ".join(sorted(leaked))
        said.append(f"Test patients had been trained on ({named}): these scores are too high.")
    if alike:
        named = "; ".join(f"{n} of {arm}" for arm, n in sorted(alike.items()))
        said.append(
            f"Test cases resemble scans that were trained on (at most {named}): look_alikes.csv of a "
            "fine-tuning's evaluation names them; if they are copies, these scores are too high."
        )
    shared = set.intersection(*(set(cell.metrics["remarks"]) for cell in chosen))
    said += map(sentence, sorted(shared))
    said += filter(None, [of_unknown_patients(chosen[0].metrics["n_cases_of_unknown_patients"])])
    return said


def _pictures(cells: list[Cell]) -> list[tuple[bytes, str, str]]:
    """What the evaluations of all arms drew of the same cases, case by case, from the smallest truth on."""
    shared = set.intersection(*({p.stem for p in _drawn(cell).glob("*.png")} for cell in cells))
    if not shared:
        return []
    tables, pictures = [cell.cases for cell in cells], []
    size = truth_sizes(tables[0])
    for scan in sorted(shared, key=lambda scan: (size[scan], scan)):
        for cell, cases in zip(cells, tables, strict=True):
            dice = (
                cases.loc[cases["id"] == scan, "dice"].mean() if "dice" in cases else float("nan")
            )
            words = f", mean Dice {dice:.3f}" if dice == dice else ""
            caption = f"{scan}, {cell.arm}{words}. Truth solid, prediction dashed."
            picture = (_drawn(cell) / f"{scan}.png").read_bytes()
            pictures.append((picture, caption, f"prediction of {scan}, {cell.arm}"))
    return pictures


def _drawn(cell: Cell) -> Path:
    return cell.folder / "evaluation/pictures"


def _commands(config: "Config", chains: dict[str, of_arms.Chain]) -> list[str]:
    """The command of the study with the arms that took part, and those of its pretrainings, which it gives
    itself, with the steps that fitted into its minutes."""
    arms = {
        name: arm for name, arm in config.arms.items() if name in config.only or not config.only
    }
    parts = [part for chain in chains.values() for part in of_arms.lasting(chain, config.minutes)]
    asked = config.model_copy(update={"arms": arms, "only": []})
    beside = paths_of(type(asked), asked.model_dump(mode="json"))
    return [
        *script("study", asked),
        *(
            " ".join(
                ["medssl", "pretrain", preset, *words(pretrain.Config, keys, {}, beside=beside)]
            )
            for preset, keys in parts
        ),
    ]
