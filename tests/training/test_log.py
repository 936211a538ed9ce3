import os

import pytest

from medssl.errors import UserError
from medssl.training.log import MetricsLog, read_jsonl


def test_rewind_drops_what_came_later_and_a_torn_line(tmp_path):
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, loss=1 / step)
        log.time(step, seconds=step)
    with open(log.metrics, "a") as stream:
        stream.write('{"step": 4, "lo')
    log.rewind(2)
    assert [r["step"] for r in log.rows()] == [1, 2]
    assert [r["step"] for r in read_jsonl(log.timing)] == [1, 2]


def test_figures_are_short_and_nan_is_null(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(1, loss=1 / 3, score=float("nan"))
    assert log.metrics.read_text() == '{"step": 1, "loss": 0.333333, "score": null}\n'


def test_a_kill_while_rewinding_leaves_the_whole_log(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, loss=1.0)
    before = log.metrics.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        log.rewind(2)
    assert log.metrics.read_bytes() == before


def test_what_a_moment_wrote_that_is_due_again_is_dropped(tmp_path):
    log = MetricsLog(tmp_path)
    for step, figure in ((1, "loss"), (2, "loss"), (2, "validation"), (2, "spread"), (3, "loss")):
        log.write(step, **{figure: 1.0})
    log.rewind(2, due=True)
    assert [list(row) for row in log.rows()] == [["step", "loss"]] * 2


def test_a_log_that_is_behind_its_checkpoint_is_told(tmp_path, capsys):
    log = MetricsLog(tmp_path)
    log.write(3, loss=1.0)
    log.rewind(3)
    assert "remark" not in capsys.readouterr().err
    log.rewind(5)
    assert "remark: metrics.jsonl ends at step 3" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metrics", "timing"])
def test_a_full_disk_is_told(tmp_path, name):
    (tmp_path / f"{name}.jsonl").symlink_to("/dev/full")
    log = MetricsLog(tmp_path)
    with pytest.raises(
        UserError, match=rf"DISK .*: {name}.jsonl cannot be written .*are free there"
    ):
        log.write(1, loss=1.0)
        log.time(1, seconds=1.0)


def test_a_moment_that_is_due_and_whose_step_is_lost_keeps_the_rest(tmp_path, capsys):
    log = MetricsLog(tmp_path)
    for step in (1, 2):
        log.write(step, loss=1.0)
    log.rewind(4, due=True)
    assert [row["step"] for row in log.rows()] == [1, 2]
    assert "ends at step 2: what it held until step 4 is lost" in capsys.readouterr().err


def test_a_line_that_is_none_of_a_log_ends_it(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(1, loss=1.0)
    for path, line in ((log.metrics, '{"note": 1}'), (log.timing, '{"step": 2}')):
        with open(path, "a") as stream:
            stream.write(line + "\n")
    log.rewind(1)
    assert log.rows() == [{"step": 1, "loss": 1.0}] and log.spent() == (0.0, 0)
