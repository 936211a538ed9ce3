"""The cases that are drawn."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medssl.data.store import Store
from medssl.stages import call
from medssl.stages.evaluate.scoring import Scoring, Voxels
from medssl.stages.finetune.model import load_task
from medssl.tasks.segmentation import Segmentation
from tests.stages.conftest import FIT, TINY


def test_a_scan_that_is_drawn_has_been_predicted_once_and_is_drawn_as_it_was_scored(
    cohort, tmp_path, monkeypatch
):
    store = Store.read_from(cohort / "out/store")
    run = call(
        "finetune", "segmentation", store=store.folder, arch=TINY, labelled=2,
        task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1, "every": 1},
        out=tmp_path / "r",
    )  # fmt: skip
    predicted, drawn = [], []
    predict, examples = Segmentation.predict, Scoring.examples
    monkeypatch.setattr(Segmentation, "predict", lambda *a: predicted.append(1) or predict(*a))
    monkeypatch.setattr(Scoring, "examples", lambda *a: drawn.extend(examples(*a)) or drawn)
    call("evaluate", run=run, resamples=100)
    assert len(predicted) == len(drawn) == 2
    task, _ = load_task(run)
    for each in drawn:
        again = task.labels(predict(task, store.read(each["id"])))
        assert np.array_equal(each["prediction"], again) and each["prediction"].dtype == again.dtype


@pytest.mark.parametrize("dice", [(0.9, 0.8, 0.7, 0.6, 0.0), (0.1, 0.5, 0.2, 0.3, np.nan)])
def test_drawn_by_their_truth_cases_are_the_same_whatever_the_model(dice, monkeypatch):
    cases = pd.DataFrame(
        {"id": list("abcde"), "dice": dice, "volume_ml_truth": [5.0, 2.0, 9.0, 1.0, 0.0]}
    )
    truths = SimpleNamespace(store=SimpleNamespace(burned_in=pd.Series(False, list("abcde"))))
    monkeypatch.setattr(Voxels, "_drawn", lambda self, item, caption, pair: item)

    def drawn(by: str) -> list[str]:
        return Voxels(None, truths, None, None, 1.0, None, False, 3, by).examples(cases)

    assert drawn("truth") == ["d", "a", "c"]  # e holds none
    assert drawn("score") == (["a", "c", "e"] if dice[0] == 0.9 else ["b", "c", "a"])
