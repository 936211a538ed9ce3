import json

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.evaluation.baseline import Baseline


def written(folder, classes=("liver",), **columns):
    pd.DataFrame({"id": ["a", "b"], **columns}).to_parquet(folder / "cases.parquet")
    (folder / "metrics.json").write_text(json.dumps({"tolerance_mm": 1.0, "classes": classes}))
    return Baseline.read(folder)


def test_the_same_question_passes_and_another_is_refused(tmp_path):
    baseline = written(tmp_path, **{"class": ["liver", "liver"]})
    baseline.check({"a", "b"}, {1: "liver"}, 1.0)
    for ids, classes, tolerance, cause in (
        ({"a", "c"}, {1: "liver"}, 1.0, "1 of the 2 asked for"),
        ({"a", "b"}, {1: "spleen"}, 1.0, "its classes are liver"),
        ({"a", "b"}, {1: "liver"}, 2.0, "tolerance of 1 mm, this one 2 mm"),
    ):
        with pytest.raises(UserError, match=cause):
            baseline.check(ids, classes, tolerance)
    scored = written(tmp_path, ["no", "yes"], score_no=[0.1, 0.2], score_yes=[0.9, 0.8])
    scored.check({"a", "b"}, {0: "no", 1: "yes"}, 1.0)
    with pytest.raises(UserError, match="MISMATCH"):
        scored.check({"a", "b"}, {0: "no", 1: "maybe"}, 1.0)


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(UserError, match="run `medssl evaluate` on the baseline"):
        Baseline.read(tmp_path)
    (tmp_path / "cases.parquet").write_bytes(b"torn")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="no readable"):
        Baseline.read(tmp_path)
