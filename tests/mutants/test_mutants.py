"""Every mutant is caught, and the way of trying them can tell."""

import subprocess
import sys

import pytest

from tests.mutants import run

GOOD = "def test_it():\n    from medssl.seeding import key\n    assert key(0, 'a') == key(0, 'a')\n"
# In a process of its own: here medssl has been imported, as it stands.
TRY = """
from tests.mutants.run import caught

file, stands = "medssl/seeding.py", "    text = "
random = "    import random\\n    text = str(random.random()) + "
print(caught([{test!r}]), caught([{test!r}], file, stands, "    text = '' + "),
      caught([{test!r}], file, stands, random))
caught([{test!r}], file, "what was never there", "")
"""


def test_a_harmless_change_survives_and_a_harmful_one_is_caught(tmp_path):
    test = tmp_path / "test_seeding.py"
    test.write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-c", TRY.format(test=str(test))],
        cwd=run.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "False", "True"]
    assert "no longer holds" in done.stderr


def test_every_line_that_is_broken_stands_in_its_file_and_its_tests_are_there():
    for name in run.names():
        listed = run.read(name)
        assert [test for test in listed.TESTS if not (run.ROOT / test).exists()] == [], name
        for file, stands, broken in listed.MUTANTS:
            assert stands in (run.ROOT / file).read_text() and stands != broken, (name, stands)


@pytest.mark.slow
@pytest.mark.parametrize("name", run.names())
def test_every_mutant_is_caught(name):
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants.run", name],
        cwd=run.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
