"""The report of an evaluated run: from cohort to figures, as far back as its folders reach."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from medssl.evaluation.detection import Boxes
from medssl.evaluation.intervals import of_unknown_patients, too_few
from medssl.evaluation.metrics import TOLERANCE_MM
from medssl.evaluation.titles import sentence, title
from medssl.evaluation.volumes import BOTH, measured
from medssl.reports import answers, boxes, charts, figures
from medssl.reports.html import Section
from medssl.reports.html import write as write_page
from medssl.reports.scores import between, forests, with_interval
from medssl.reports.sections import (
    cohort_section,
    pretraining_section,
    provenance_section,
    training_section,
)
from medssl.reports.style import as_png

HEADLINE = 4
MOST_PANELS = 6  # classes whose volumes are drawn


def write(
    folder: Path, run: Path, card: dict, result: dict, cases: pd.DataFrame, cohort: pd.DataFrame,
    shown: list[dict], pretrained: dict[Path, int], commands: list[str],
) -> Path:  # fmt: skip
    """Compose folder/report.html, and the overlays apart in folder/pictures.

    result      what metrics.json holds
    cohort      the manifest's table
    shown       cases to draw: id, caption, image, truth, prediction (labels or boxes), classes, spacing
    pretrained  pretraining runs to show, each up to a step (0: the last one); those that are no
                longer there are left out
    commands    lines that lead to this report
    """
    pretrained = {p: n for p, n in pretrained.items() if (p / "metrics.jsonl").exists()}
    sections = [
        _results(result, cases, card),
        *([_volumes(result["volumes"], cases)] if result.get("volumes") else []),
        *([_overlays(folder, shown, result["examples_by"], card["recipe"])] if shown else []),
        cohort_section(cohort, card),
        *[pretraining_section(p, n) for p, n in pretrained.items()],
        training_section(run, card),
        provenance_section(card, commands),
    ]
    patients = _count(len(card["patients"]["train"]), "patient")
    trained = f"{_count(card['trained_on'], 'labelled scan')} of {patients}"
    scored = f"{_count(result['n_cases'], 'scan')} of {result['n_patients']} other patients"
    start = result["start"][0].upper() + result["start"][1:]
    subtitle = f"{start}, trained on {trained}; scored on {scored}"
    heading = f"{card['task']['name'].capitalize()}: {', '.join(card['classes'].values())}"
    footer = f"Cohort {card['cohort']}, medssl {card['versions']['medssl']}."
    return write_page(folder / "report.html", heading, subtitle, sections, footer)


def _results(result: dict, cases: pd.DataFrame, card: dict) -> Section:
    found, gain = result["metrics"], result["difference_to_baseline"]
    text = (
        f"Scored on the {result['split']} split. The intervals are 95 % percentile bootstrap "
        f"intervals over patients (seed {result['seed']})."
    )
    within = ""
    if result.get("tolerance_mm"):
        text += (
            f" NSD, the normalised surface distance, is the share of both outlines that lies within "
            f"{result['tolerance_mm']:g} mm of the other ({TOLERANCE_MM:g} mm unless tolerance= says "
            "otherwise; about as far as the outlines of two readers lie apart, and no less than a voxel, is "
            "a good choice); HD95 the larger of the two 95th percentiles of distances between surfaces (the "
            "diagonal of the scan where only one side has the class: lower is better)."
        )
        within = f"; NSD within {result['tolerance_mm']:g} mm"
    if any(name.startswith("lesion") for name in found):
        text += (
            " Lesions are parts of a class that hang together; a true one is found if the prediction touches "
            "it by a voxel, a predicted one is right if it touches a true one."
        )
    tables = [(_intervals(found), f"Scores with their intervals{within}.")]
    drawn = [
        (forest, "Scores and 95 % intervals.", "forest plot of the scores")
        for forest in forests(found)
    ]
    if gain:
        other = result["baseline"]
        trained = _count(other["trained_on"], "labelled scan")
        words = (
            f"This run and the baseline, {other['run']} ({other['start']}, trained on {trained}), on "
            "the same cases; the differences are paired."
        )
        tables.append((_against(found, other["metrics"], gain), words))
        words = "Difference to the baseline: of scores, this run is better right of the line; of distances "
        words += "and errors, left of it."
        drawn += [
            (forest, words, "forest plot of the differences")
            for forest in forests(gain, 0, "difference to the baseline")
        ]
    for column, groups in result.get("subgroups", {}).items():
        tables.append(
            (
                _by_group(groups),
                f"Main scores by {column.removeprefix('label_').replace('_', ' ')}.",
            )
        )
    if "dice" not in cases:
        words, more, pictures = answers.results(cases, list(card["classes"].values()))
        text, tables, drawn = f"{text}\n\n{words}".strip(), tables + more, drawn + pictures
    facts = {title(k): with_interval(v) for k, v in main_figures(found).items()}
    return Section("Results", text, _caution(result), facts, tables, figures=drawn)


def _caution(result: dict) -> str:
    said = []
    if unlearnt := result.get("learnt_nothing"):
        said.append(f"Of this model {unlearnt}.")
    if leaked := result["trained_on_held_out_patients"]:
        parts = ", ".join(f"{n} in {part}" for part, n in leaked.items())
        said.append(f"Held-out patients had been trained on ({parts}): the scores are too high.")
    if alike := result.get("n_look_alikes_of_training_scans"):
        said.append(
            f"{_count(alike, 'case')} of look_alikes.csv resemble a scan of the training: if they are "
            "copies, the scores are too high."
        )
    said += filter(None, [too_few(result["n_patients"])])
    said += filter(None, [of_unknown_patients(result["n_cases_of_unknown_patients"])])
    said += map(sentence, result.get("remarks", []))
    return "\n\n".join(said)


def main_figures(found: dict) -> dict:
    """The figures that stand first."""
    main = {k: v for k, v in found.items() if "mean of classes" in k} or found
    return dict(list(main.items())[:HEADLINE])


def _by_group(groups: dict[str, dict]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"value": value, "score": title(k), "estimate": float(v["estimate"]),
             "95 % interval": between(v), "patients": v["n_patients"]}
            for value, found in groups.items()
            for k, v in main_figures(found).items()
        ]
    )  # fmt: skip


def _against(found: dict, other: dict, gain: dict) -> pd.DataFrame:
    """What this run scored, what the baseline did, and the difference."""
    rows = [
        {
            "score": title(name),
            "this run": float(found[name]["estimate"]),
            "baseline": float(other[name]["estimate"]),
            "difference": float(v["estimate"]),
            "95 % interval": between(v),
            "patients": v["n_patients"],
            "cases": v["n_cases"],
        }
        for name, v in gain.items()
        if name in other
    ]
    return pd.DataFrame(rows)


def _intervals(found: dict) -> pd.DataFrame:
    table = pd.DataFrame(
        [
            {
                "score": title(name),
                "estimate": float(v["estimate"]),
                "95 % interval": between(v),
                "patients": v["n_patients"],
                "cases": v["n_cases"],
                "left out": v.get("n_left_out", 0),
            }
            for name, v in found.items()
        ]
    )
    return table if table["left out"].any() else table.drop(columns="left out")


def _volumes(found: dict[str, dict], cases: pd.DataFrame) -> Section:
    """How true and predicted volumes agree."""
    rows = []
    for name, of in found.items():
        ml = _as_large_as(max(of["truth"], of["prediction"]))
        gain = of["difference"]
        rows.append({
            "class": name, "truth, ml": ml(of["truth"]), "predicted, ml": ml(of["prediction"]),
            "difference, ml": f"{ml(gain['estimate'])} ({ml(gain['low'])} to {ml(gain['high'])})",
            "95 % limits of agreement": " to ".join(map(ml, of["limits"])),
            "patients": gain["n_patients"], "cases": gain["n_cases"],
        })  # fmt: skip
    text = (
        "Means over the cases in which a class is true or was predicted; differences are predicted minus "
        "true, with 95 % intervals over patients. Between the limits of agreement (the mean and 1.96 "
        "standard deviations of cases to either side, after Bland and Altman) lie about 95 of 100 cases. "
        "What is drawn on a film counts as 1 mm thick."
    )
    largest = sorted(found, key=lambda name: -found[name]["truth"])[:MOST_PANELS]
    pairs = {
        name: rows[BOTH].to_numpy(float).T
        for name, rows in measured(cases).items()
        if name in largest and len(rows) > 1
    }
    words = "Difference of each case over the mean of both; lines: the mean and the limits of agreement."
    if len(pairs) < len(found):
        words += f" The {len(pairs)} largest classes."
    drawn = [(charts.bland_altman(pairs), words, "Bland-Altman plots of volumes")] if pairs else []
    return Section(
        "Volumes", text, tables=[(pd.DataFrame(rows), "Volumes by class.")], figures=drawn
    )


def _as_large_as(size: float) -> Callable[[float], str]:
    """Writes volumes with as many decimals as one of this size needs for three digits."""
    decimals = max(0, 2 - math.floor(math.log10(size)))
    return lambda ml: "not defined" if math.isnan(ml) else _minus(f"{ml:z.{decimals}f}")


def _minus(words: str) -> str:
    return words.replace("-", "\N{MINUS SIGN}")


def _overlays(folder: Path, shown: list[dict], by: str, recipe: dict) -> Section:
    codes, drawn = recipe.get("orientation") or "RAS", []
    (folder / "pictures").mkdir(exist_ok=True)
    for case in shown:
        image, spacing = figures.to_ras(case["image"], codes), list(case["spacing"])
        if len(spacing) == 3:
            spacing = [spacing[i] for i in figures.axis_order(codes)]
        caption = f"{case['id']}: {case['caption']}"
        if isinstance(case["truth"], Boxes):
            shape = case["image"].shape
            both = [boxes.boxes_to_ras(case[k], shape, codes) for k in ("truth", "prediction")]
            picture = boxes.boxes_overlay(image, *both, case["classes"], spacing=spacing)
            if image.ndim == 3:
                _, true, called = boxes.views(*both, image.shape)
                caption += f" In view: {true.sum()} of {len(true)} true boxes"
                caption += f", {called.sum()} of {len(called)} called ones."
        else:
            both = (figures.to_ras(case[k], codes) for k in ("truth", "prediction"))
            picture = figures.overlay(image, *both, case["classes"], spacing=spacing)
        png = as_png(picture)
        (folder / f"pictures/{case['id']}.png").write_bytes(png)
        drawn.append((png, caption, f"prediction laid over truth, {case['id']}"))
    text = "The best, the middle and the worst case of the split"
    if len(shown) != 3:
        text = "Cases of the split, from the best to the worst"
    if by == "truth":
        text = "Cases of the split, from the smallest truth to the largest"
    which = "in the planes that cut most structures"
    if isinstance(shown[0]["truth"], Boxes):
        which = f"in up to {boxes.VIEWS} sets of planes, which bring most boxes into view"
    text += f", {which}." if shown[0]["image"].ndim == 3 else "."
    return Section("Predictions on truth", text, figures=drawn)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
