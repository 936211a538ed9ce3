"""Every mutant is caught, and the way of trying them can tell."""

import pytest

from tests.mutants import run

GOOD = "def test_it():\n    from medssl.seeding import key\n    assert key(0, 'a') == key(0, 'a')\n"


def test_a_harmless_change_survives_and_a_harmful_one_is_caught(tmp_path):
    test = tmp_path / "test_seeding.py"
    test.write_text(GOOD)
    file, stands = "medssl/seeding.py", "    text = "
    assert not run.caught([str(test)])
    assert not run.caught([str(test)], file, stands, "    text = '' + ")
    assert run.caught(
        [str(test)], file, stands, "    import random\n    text = str(random.random()) + "
    )
    with pytest.raises(ValueError, match="no longer holds"):
        run.caught([str(test)], file, "what was never there", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", run.names())
def test_every_mutant_is_caught(name):
    survived = [each[:3] for each in run.tried(name) if not each[3]]
    assert not survived
