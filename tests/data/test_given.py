"""Folders that are not there are told before anything is loaded, with what was probably meant."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from medssl.data.given import BARE, READS, check_values, check_words, no_such_folder
from medssl.errors import UserError
from medssl.stages import call
from tests.test_imports import ROOT


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/spark", "runs/voco", "store"):
        Path(name).mkdir(parents=True)


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("finetune backbone=runs/sparc", "CHECKPOINT runs/sparc: there is no such folder; did you mean "
         "runs/spark? Fix: give the folder of a run"),
        ("finetune few_labels store=stor", "STORE stor: there is no such folder; did you mean store?"),
        ("pretrain mae start=run/voco", "did you mean runs/voco?"),
        ("pretrain mae start=elsewhere/x", "elsewhere/x: there is no such folder. Fix"),
        ("evaluate runs/voce", "did you mean runs/voco?"),
        ("predict runs/voce scans", "did you mean runs/voco?"),
        ("reduce hash6 model=runs/voce", "did you mean runs/voco?"),
        ("study backbones=runs/voco,runs/sparc", "CHECKPOINT runs/sparc"),
        ("plan out=p.json finetune few_labels backbone=runs/sparc", "did you mean runs/spark?"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_there_is_told_with_one_that_is_nearly_called_so(line, told):
    verb, *words = line.split()
    with pytest.raises(UserError) as error:
        check_words(verb, words)
    assert told in str(error.value)


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    "line",
    [
        "finetune few_labels backbone=runs/spark store=store out=runs/new",
        "finetune segmentation backbone=none",
        "pretrain mae backbone=vit",  # a network, no folder
        "reduce hash6 store=store",
        "evaluate runs/spark by=sex",
        "predict runs/spark nowhere",  # scans are told by who reads them
        "run quickstart store=not-yet",
        "plan index scans",
        "runs ls nowhere",
    ],
)
def test_other_words_are_left_alone(line):
    verb, *words = line.split()
    check_words(verb, words)


@pytest.mark.usefixtures("runs")
def test_the_keys_of_a_call_are_checked_too():
    with pytest.raises(UserError, match="did you mean runs/spark"):
        call("finetune", backbone=Path("runs/sparc"))
    with pytest.raises(UserError, match="CHECKPOINT runs/x"):
        check_values("study", {"backbones": ["runs/voco", "runs/x"]})
    check_values("finetune", {"backbone": None, "store": "store"})


@pytest.mark.usefixtures("runs")
def test_the_nearest_is_of_the_first_part_that_is_missing():
    assert no_such_folder(Path("run/model")).endswith("did you mean runs?")
    assert no_such_folder(Path("runs/spark/modle")) == "there is no such folder"
    assert no_such_folder(Path.cwd() / "runs/sparc").endswith(f"{Path.cwd()}/runs/spark?")


def test_it_is_told_before_the_stage_is_loaded(tmp_path):
    code = (
        "import sys\nfrom medssl.stages import asked\n"
        "try:\n    asked('finetune', ['backbone=nowhere'])\n"
        "except Exception as error:\n    print(type(error).__name__, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["UserError", "False"]


@pytest.mark.parametrize("verb", READS)
def test_the_keys_are_those_of_the_stages(verb):
    stage = importlib.import_module(f"medssl.stages.{verb}")
    fields = stage.Config.model_fields
    for key in READS[verb]:
        assert fields[key].annotation in (Path, Path | None, list[Path]), key
    assert (verb in BARE) == (stage.Config.positional[:1] == READS[verb][:1])
