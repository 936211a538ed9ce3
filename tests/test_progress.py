import pytest

from medssl import progress


def test_quick_work_prints_nothing_and_yields_all(capsys):
    assert list(progress.track([1, 2, 3], "work")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_long_work_shows_throughput_and_time_left_as_plain_lines(capsys, monkeypatch):
    now = iter(range(0, 1000, 11))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    list(progress.track(range(4), "work", unit="scans", note=lambda: "loss 0.5"))
    lines = capsys.readouterr().err.splitlines()
    assert "work: 1/4 scans, 11 s/scan" in lines[0] and "left" not in lines[0]
    assert "work: 2/4 scans" in lines[1] and lines[1].endswith("left, loss 0.5")
    assert lines[-1].startswith("work: 4 scans in ") and "\x1b" not in "".join(lines)


def test_duration():
    assert progress.duration(61) == "1m01s" and progress.duration(7260) == "2h01m"


def test_bytes_are_told_in_the_unit_that_fits():
    told = [progress.amount(n) for n in (0, 512, 1234, 999_600, 34_500_000_000, 2e15)]
    assert told == ["0 B", "512 B", "1.23 kB", "1 MB", "34.5 GB", "2e+03 TB"]


def test_an_onlooker_sees_every_item_and_may_end_the_work():
    seen = []
    with progress.watched(lambda *told: seen.append(told)):
        list(progress.track("ab", "outer", 9, start=5))
    assert seen == [("outer", 5, 9), ("outer", 6, 9), ("outer", 7, 9)]
    list(progress.track("ab", "unseen"))
    assert len(seen) == 3

    def enough(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    worked = []
    with pytest.raises(KeyboardInterrupt), progress.watched(enough):
        for item in progress.track("abcd", "work"):
            worked.append(item)
    assert worked == ["a", "b"]


def test_slow_work_is_told_by_the_seconds_that_one_takes():
    told = [progress.pace(rate, "scans") for rate in (0, 1 / 107, 0.4, 0.999, 1, 12.34)]
    assert told == ["0.0/s", "107 s/scan", "2.5 s/scan", "1.0/s", "1.0/s", "12.3/s"]
    assert progress.pace(0.1, "batches") == "10 s/batch"
