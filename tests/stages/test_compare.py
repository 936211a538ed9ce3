import json
import re
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from medssl import cli
from medssl.errors import UserError
from medssl.stages import call
from tests.stages.conftest import FIT, TINY
from tests.stages.runs.made import scored
from tests.training.test_registry import made


@pytest.fixture(scope="module")
def compared(segmented):
    out = segmented / "comparison"
    words = [f"{segmented}/scratch", f"{segmented}/tuned", f"out={out}"]
    result = CliRunner().invoke(cli.app, ["compare", *words])
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_table_holds_what_the_evaluations_say(compared, segmented):
    out, said = compared
    table = pd.read_csv(out / "compare.csv").set_index(["figure", "run"])
    told = {
        run: json.loads((segmented / f"{run}/evaluation/metrics.json").read_text())
        for run in ("scratch", "tuned")
    }
    for run, result in told.items():
        for name, figure in result["metrics"].items():
            row = table.loc[(name, run)]
            assert [row["estimate"], row["n_cases"]] == pytest.approx(
                [figure["estimate"], figure["n_cases"]]
            )
    for name, figure in told["tuned"]["difference_to_baseline"].items():
        row = table.loc[(name, "tuned")]
        assert [row["difference"], row["difference low"]] == pytest.approx(
            [figure["estimate"], figure["low"]]
        )
    # One patient shows nothing, whatever the difference.
    assert (table.xs("tuned", level="run")["p"].dropna() == 1).all()
    assert "dice, mean of classes, tuned" in said and "difference to scratch" in said
    assert said.count(", the baseline\n") == 1
    assert "The split has 1 patient" in said
    words = (
        "P-values are corrected after Holm: that of Dice, mean of classes, one comparison, is left as it is; "
        "those of all other figures for 5 comparisons."
    )
    assert words in said.replace("\n", " ")
    tables = re.findall("<caption>(.*?)</caption>", (out / "report.html").read_text())
    assert [words in caption for caption in tables[:3]] == [True, False, True]


def test_the_page_holds_all_it_shows_and_names_no_folder(compared, segmented):
    page = (compared[0] / "report.html").read_text()
    assert "http" not in page and "<script" not in page and str(segmented) not in page
    assert "forest plot of the differences" in page and "paired scores of scratch and tuned" in page
    for words in ("Which is better?", "from_scratch", "pretrained with voco", "CAUTION",
                  "medssl compare scratch tuned"):  # fmt: skip
        assert words in page, words
    settings = page[page.index("What was set otherwise</h2>") : page.index("How to reproduce</h2>")]
    assert "fit.steps" not in settings and "<td>out</td>" not in settings


def test_another_baseline_turns_the_differences_round(compared, segmented, tmp_path):
    call(
        "compare", runs=[segmented / "scratch", segmented / "tuned"],
        baseline=segmented / "tuned", out=tmp_path,
    )  # fmt: skip
    here = pd.read_csv(tmp_path / "compare.csv").set_index(["figure", "run"])["difference"]
    there = pd.read_csv(compared[0] / "compare.csv").set_index(["figure", "run"])["difference"]
    for name in ("dice, ball", "hd95_mm, mean of classes"):
        assert here[name, "scratch"] == pytest.approx(-there[name, "tuned"])
        assert pd.isna(here[name, "tuned"])


def test_classifications_have_roc_curves_laid_over_each_other(cohort, segmented, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        call(
            "finetune", "classification", store=cohort / "out/store", target="label_odd", arch=TINY,
            task={"size": [16, 16, 16]}, fit={**FIT, "seed": seed}, out=tmp_path / name,
        )  # fmt: skip
        call("evaluate", run=tmp_path / name)
    call("compare", runs=[tmp_path / "a", tmp_path / "b"], out=tmp_path / "c")
    page = (tmp_path / "c/report.html").read_text()
    assert page.count('alt="ROC curves"') == 1 and "Receiver operating characteristic of 1." in page
    assert "fit.seed" in page and "AUROC" in page
    # Evaluations are enough, but then nothing is known of the settings.
    shutil.move(tmp_path / "a/evaluation", tmp_path / "ea")
    shutil.move(tmp_path / "b/evaluation", tmp_path / "eb")
    call("compare", runs=[tmp_path / "ea", tmp_path / "eb"], out=tmp_path / "d")
    assert "only the evaluation was given" in (tmp_path / "d/report.html").read_text()
    first, second = (pd.read_csv(tmp_path / f"{c}/compare.csv") for c in "cd")
    assert first.drop(columns="run").equals(second.drop(columns="run"))


def test_what_is_missing_is_said_with_the_command_to_give(tmp_path):
    scored(tmp_path / "a", 0.5)
    made(tmp_path / "b")
    with pytest.raises(UserError, match=f"has no evaluation. Fix: medssl evaluate {tmp_path}/b"):
        call("compare", runs=[tmp_path / "a", tmp_path / "b"], out=tmp_path / "c")
    made(tmp_path / "voco", config={"fit": {"steps": 20}, "method": {"name": "voco"}})
    with pytest.raises(UserError, match="medssl probe"):
        call("compare", runs=[tmp_path / "a", tmp_path / "voco"], out=tmp_path / "c")
    with pytest.raises(UserError, match="is no folder"):
        call("compare", runs=[tmp_path / "a", tmp_path / "nowhere"], out=tmp_path / "c")
    scored(tmp_path / "d", 0.5, weights_sha256="of others")
    with pytest.raises(UserError, match=f"STALE .*medssl evaluate {tmp_path}/d"):
        call("compare", runs=[tmp_path / "a", tmp_path / "d"], out=tmp_path / "c")
    scored(tmp_path / "e", 0.5)
    (tmp_path / "e/evaluation/cases.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match="no readable cases.parquet"):
        call("compare", runs=[tmp_path / "a", tmp_path / "e"], out=tmp_path / "c")
    for runs in ([tmp_path / "a"], [tmp_path / "a", tmp_path / "../" / tmp_path.name / "a"]):
        with pytest.raises(UserError, match="1 run was given"):
            call("compare", runs=runs, out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def rewritten(folder, **columns):
    path = folder / "evaluation/cases.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def test_other_questions_are_refused_with_the_reason(tmp_path):
    scored(tmp_path / "a", 0.5)
    others = {
        "cases": ({"ids": "abd"}, "it scored 3 cases, 2 of the 3 asked for"),
        "classes": ({"classes": ("cube",)}, "its classes are cube, here ball"),
        "tolerance": ({"tolerance_mm": 2.0}, "tolerance of 2 mm, this one 1 mm"),
    }
    for name, (more, words) in others.items():
        scored(tmp_path / name, 0.6, **more)
        with pytest.raises(UserError, match=f"MISMATCH {tmp_path}/{name}/evaluation: .*{words}"):
            call("compare", runs=[tmp_path / "a", tmp_path / name], out=tmp_path / "c")
    scored(tmp_path / "labels", 0.6)
    rewritten(tmp_path / "labels", volume_ml_truth=[1.0, 1.0, 2.0])
    with pytest.raises(UserError, match="of 1 cases it has another volume_ml_truth"):
        call("compare", runs=[tmp_path / "a", tmp_path / "labels"], out=tmp_path / "c")
    scored(tmp_path / "kind", 0.6)
    cases = pd.DataFrame({"id": list("abc"), "patient": list("abc"), "truth": "ball",
                          "predicted": "ball", "score_ball": 1.0, "score_no": 0.0})  # fmt: skip
    cases.to_parquet(tmp_path / "kind/evaluation/cases.parquet")
    with pytest.raises(UserError, match="scored by auroc, others by dice, mean of classes"):
        call("compare", runs=[tmp_path / "a", tmp_path / "kind"], out=tmp_path / "c")
    scored(tmp_path / "b", 0.6)
    with pytest.raises(UserError, match="is no figure .*choose one of dice, ball; dice, mean"):
        call(
            "compare",
            runs=[tmp_path / "a", tmp_path / "b"],
            figure="dice, cube",
            out=tmp_path / "c",
        )


def test_runs_of_one_name_are_told_apart_and_cautions_are_said(tmp_path, capsys):
    scored(tmp_path / "x/run", 0.5, trained_on_held_out_patients={"train": 2})
    scored(tmp_path / "y/run", 0.6, remarks=["the backbone had been found collapsed"])
    scored(tmp_path / "z/run", 0.1, card={"validation": 0.01, "chance": 0.05})
    runs = [tmp_path / f"{name}/run" for name in "xyz"]
    call("compare", runs=runs, out=tmp_path / "c")
    assert set(pd.read_csv(tmp_path / "c/compare.csv")["run"]) == {"x/run", "y/run", "z/run"}
    page, said = (tmp_path / "c/report.html").read_text(), capsys.readouterr().err
    for words in (
        "x/run had been trained on patients that it was scored on (2 in train)",
        "y/run: the backbone had been found collapsed.", "The split has 3 patients",
        "Of z/run next to nothing has been learnt",
    ):  # fmt: skip
        assert words in page and words in said, words


def test_what_evaluations_remarked_is_not_lost(tmp_path, capsys):
    scored(tmp_path / "x", 0.5, remarks=["one is odd", "both are"], n_cases_of_unknown_patients=3)
    scored(tmp_path / "y", 0.6, remarks=["both are"], n_cases_of_unknown_patients=3)
    call("compare", runs=[tmp_path / "x", tmp_path / "y"], out=tmp_path / "c")
    said = capsys.readouterr().err
    assert said.count("oth are") == 1 and "remark: Both are." in said
    assert "remark: x: one is odd." in said and "Whose 3 scans are is not known" in said
