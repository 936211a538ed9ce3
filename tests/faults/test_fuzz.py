"""Two minutes of mutated files, in `make test-all`; a few in `make test`."""

import pytest

from tests.faults import fuzz


@pytest.mark.parametrize("seed", fuzz.SEEDS)
def test_a_few_mutations_of_each_seed(seed, tmp_path):
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        what, words = fuzz.fate(seed, number, folder)
        assert what in ("refused", "equal", "remarked", "as stored"), (number, words)


def test_a_mutation_is_a_function_of_its_number(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        fuzz.folder_of("nifti gz", 5, tmp_path / name)
    assert (tmp_path / "a/a.nii.gz").read_bytes() == (tmp_path / "b/a.nii.gz").read_bytes()


def test_a_silent_change_would_be_seen(tmp_path, monkeypatch):
    def other(row):
        volume = fuzz_read(row)
        return volume.with_array(volume.array + 1)

    fuzz_read = fuzz.read
    fuzz._good("nifti int16")
    monkeypatch.setattr(fuzz, "read", other)
    monkeypatch.setattr(fuzz, "folder_of", lambda seed, number, folder: fuzz.SEEDS[seed](folder))
    assert fuzz.fate("nifti int16", 0, tmp_path)[0] == "silent"


@pytest.mark.slow
def test_two_minutes():
    outcome = fuzz.run(120)
    print(f"\n{outcome}")
    assert outcome.defects == [] and outcome.tried > 1000
    assert outcome.slowest[0] < fuzz.SLOWEST and outcome.largest[0] < fuzz.MOST_BYTES
