from types import SimpleNamespace

import pandas as pd
import pytest

from medssl.data import forecast
from medssl.data.forecast import Forecast, prepared_voxels
from medssl.data.recipe import Recipe
from medssl.errors import UserError


def scans(n: int, mask: str = "") -> pd.DataFrame:
    row = {"shape": "10x20x30", "spacing": "1x2x3", "orientation": "RAS", "label_mask": mask}
    return pd.DataFrame([row] * n)


def room(monkeypatch, free: int):
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))


def test_voxels_follow_the_header_and_the_recipe():
    row = scans(1).iloc[0]
    assert prepared_voxels(row, Recipe()) == 6000
    assert prepared_voxels(row, Recipe(size=[4, 4, 4])) == 64
    assert prepared_voxels(row, Recipe(spacing=[1, 1, 1])) == 10 * 40 * 90
    turned = pd.Series({**row, "orientation": "IPR"})  # the file's first axis is the recipe's third
    assert prepared_voxels(turned, Recipe(spacing=[3, 2, 0.5])) == 20 * 20 * 30
    film = pd.Series({"shape": "10x20", "spacing": "1x1", "orientation": "", "label_mask": ""})
    assert prepared_voxels(film, Recipe(spacing=[2, 2])) == 50


def test_the_forecast_comes_once_after_three_new_scans_and_scales(monkeypatch, tmp_path):
    room(monkeypatch, 10**9)
    plan = Forecast(tmp_path, scans(104), Recipe(), workers=2)
    assert "104 scans, at most 1.25 MB" in plan.limit() and "1 GB are free" in plan.limit()
    assert plan.observe(0, 0) == ""  # was there already
    said = [plan.observe(3000, seconds) for seconds in (9, 1.2, 1.2, 1.2)]
    assert said[:2] == ["", ""] and said[3] == ""
    assert "forecast after 4 scans: 100 more in about 1m00s and 300 kB" in said[2]


def test_too_little_room_is_told_with_figures(monkeypatch, tmp_path):
    room(monkeypatch, 200_000)
    plan = Forecast(tmp_path, scans(103, mask="m"), Recipe())
    assert "at most 1.85 MB" in plan.limit()
    plan.observe(3000, 1), plan.observe(3000, 1)
    with pytest.raises(UserError, match="100 more scans need about 300 kB; 200 kB are free") as e:
        plan.observe(3000, 1)
    assert e.value.code == "DISK" and e.value.where == str(tmp_path)


def test_of_a_store_that_has_begun_only_the_disk_itself_says_that_it_is_full(monkeypatch, tmp_path):
    room(monkeypatch, 200_000)
    plan = Forecast(tmp_path, scans(103, mask="m"), Recipe(), begun=True)
    said = [plan.observe(3000, 1) for _ in range(3)]
    assert "forecast after 3 scans: at most 100 more" in said[2]
    assert "300 kB; 200 kB are free" in said[2]


def test_a_full_disk_tells_what_is_still_needed(tmp_path):
    plan = Forecast(tmp_path, scans(10), Recipe())
    full = UserError("DISK", "arrays", "x cannot be written", "free room")
    assert "10 scans not yet done need at most 120 kB" in str(plan.stopped(full))
    plan.observe(600, 1)
    assert "9 scans not yet done need about 5.4 kB" in str(plan.stopped(full))
