"""Of every verb: it writes neither among the scans nor into a store."""

import importlib

import pytest

from medssl.cli import VERBS
from medssl.data.out import KEYS
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.plan import PLANS, forecast

WRITING = [
    v for v in VERBS if "out" in importlib.import_module(f"medssl.stages.{v}").Config.model_fields
]
READ_NO_SCANS = {"backbones", "demo", "methods", "plan", "runs", "scrub"}


@pytest.mark.parametrize("verb", WRITING)
def test_a_verb_writes_neither_among_scans_nor_into_a_store(cohort, segmented, verb, monkeypatch):
    stage = importlib.import_module(f"medssl.stages.{verb}")
    monkeypatch.setattr(stage, "run", lambda config: pytest.fail(f"{verb} began"))
    fields = stage.Config.model_fields
    known = {
        "scans": cohort / "images", "source": cohort / "out/m", "manifest": cohort / "out/m",
        "store": cohort / "out/store", "run": segmented / "tuned", "folder": segmented / "tuned",
        "runs": [segmented / "scratch", segmented / "tuned"], "weights": cohort / "weights.pt",
    }  # fmt: skip
    assert set(KEYS) < set(known)
    given = {
        k: path for k, path in known.items() if k in fields and "Path" in str(fields[k].annotation)
    }
    given |= {"plan": {"verb": "pretrain"}, "export": {"to": "hub"}}.get(verb, {})
    inside = {"inside the store": cohort / "out/store/new"}
    if verb not in READ_NO_SCANS:
        assert set(given) & set(KEYS)
        inside["among the scans"] = cohort / "images/new"
    for said, out in inside.items():
        if verb in PLANS:
            with pytest.raises(UserError, match=said):
                forecast(verb, **given, out=out)
        with pytest.raises(UserError, match=said):
            call(verb, **given, out=out)
        assert not out.exists()
