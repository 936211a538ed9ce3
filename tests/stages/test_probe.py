import json

import pytest

from medssl.stages import call


@pytest.mark.slow
def test_pretraining_teaches_phantom_anatomy(tmp_path):
    """VoCo and MAE beat their untrained networks with their whole interval; losses fall."""
    summary = json.loads(
        call("run", pipeline="phantom_probe", overrides={"out": tmp_path}).read_text()
    )
    for method, found in summary.items():
        print(method, found["pretrained"]["estimate"], found["untrained"]["estimate"])
        assert found["difference"]["low"] > 0, (method, found)
        assert found["difference"]["n_patients"] >= 6
        rows = [
            json.loads(r) for r in (tmp_path / method / "metrics.jsonl").read_text().splitlines()
        ]
        losses = [r["loss"] for r in rows if "loss" in r]
        tenth = len(losses) // 10
        assert sum(losses[-tenth:]) < 0.7 * sum(losses[:tenth])
