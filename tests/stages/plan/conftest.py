import json
import os
import sys
import tempfile

import pytest

from medssl.stages.plan import rehearsal
from tests.training.killing import begun, warm


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Where temporary folders are made: nothing may be left there."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    there = {path.name.partition("_")[0] for path in folder.iterdir()}
    assert there <= {"torchinductor"}  # which torch makes when parts of it are loaded


@pytest.fixture
def at_hand(monkeypatch):
    """Rehearsals in forks of this process, which has imported everything: they begin at once."""

    def carried_out(request, said, several):
        asked, asking = os.pipe()
        child = begun(perform, asked, said)
        os.close(asked)
        with os.fdopen(asking, "w") as stream:
            print(json.dumps(request), file=stream, flush=True)
            _, status = os.waitpid(child, 0)
        return 0, os.waitstatus_to_exitcode(status)

    def perform(asked, said):
        os.dup2(asked, 0)
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
        sys.stdin, sys.stderr = os.fdopen(0), os.fdopen(2, "w")
        rehearsal.perform()

    warm()
    monkeypatch.setattr(rehearsal, "_carried_out", carried_out)
