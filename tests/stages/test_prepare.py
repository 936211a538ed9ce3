import pandas as pd

from medssl.stages import call


def test_every_file_is_used_or_refused(cohort):
    table = pd.read_parquet(cohort / "out/m/manifest.parquet")
    assert (table["verdict"] == "used").sum() == 10
    broken = table[table["path"].str.contains("broken")].iloc[0]
    assert broken["verdict"] == "refused" and broken["reason"]


def test_preparing_again_makes_nothing_again(cohort):
    store = cohort / "out/store"
    before = {p: p.stat().st_mtime_ns for p in (store / "arrays").iterdir()}
    call(
        "prepare",
        "mr_crop",
        manifest=cohort / "out/m",
        out=store,
        recipe={"spacing": [1.2, 1.2, 1.2]},
    )
    assert before == {p: p.stat().st_mtime_ns for p in (store / "arrays").iterdir()}
