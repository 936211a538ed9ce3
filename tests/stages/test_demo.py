from medssl.stages import call
from medssl.stages import run as pipeline


def test_runs_the_quickstart_and_says_where_the_report_lies(tmp_path, monkeypatch, capsys):
    asked = []

    def stand_in(config):
        asked.append((config.pipeline, config.overrides))
        return tmp_path / "demo/report.html"

    monkeypatch.setattr(pipeline, "run", stand_in)  # the quickstart itself is run by test_pipelines
    assert call("demo", out=tmp_path / "demo") == tmp_path / "demo/report.html"
    assert asked == [("quickstart", {"out": tmp_path / "demo"})]
    assert str(tmp_path / "demo/report.html") in capsys.readouterr().err
