"""What the README and the pages of docs/ show must run as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from medssl import command_line
from medssl.cli import VERBS, execute
from medssl.stages import study
from medssl.training.log import read_jsonl
from tests.data.test_store import make

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
SHOWN = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = re.findall(r"^(medssl .*?)(?:\s+#.*)?$", SHOWN, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    verb, *words = shlex.split(command)[1:]
    assert verb in VERBS
    stage = __import__(f"medssl.stages.{verb}", fromlist=["Config"])
    command_line.load(stage.Config, verb, words)


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", SHOWN, re.DOTALL))
def test_every_study_is_understood(text, tmp_path):
    (tmp_path / "study.yaml").write_text(text)
    assert command_line.load(study.Config, "study", [str(tmp_path / "study.yaml")]).arms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        path, _, anchor = link.partition("#")
        to = page if not path else (page.parent / path).resolve()
        assert to.is_file(), link
        heads = (
            re.findall(r"^#+ (.*)$", to.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        )
        assert not anchor or anchor in {h.lower().replace(" ", "-") for h in heads}, link


def test_a_method_of_one_s_own_trains_as_shown(tmp_path, monkeypatch):
    code = next(c for c in re.findall(r"```python\n(.*?)```", SHOWN, re.DOTALL) if "nn.Module" in c)
    (tmp_path / "my_module.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    make(tmp_path / "store", [(36, 34, 40)] * 4)
    shown = next(c for c in COMMANDS if "my_module:Mirrored" in c)
    tiny = ["backbone.channels=4,8", "fit.steps=3", "fit.batch_size=2", "fit.every=3"]
    execute("pretrain", [*shlex.split(shown)[2:], *tiny])
    rows = read_jsonl(tmp_path / "runs/mine/metrics.jsonl")
    assert [r["step"] for r in rows if "accuracy" in r] == [1, 2, 3]
