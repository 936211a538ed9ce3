import re
import shlex

import pytest

from medssl.data.patient_pattern import GENERAL, compiled, example
from medssl.errors import UserError


@pytest.mark.parametrize(
    "paths, taken, patients",
    [
        (["sub1_v1.nii.gz", "sub1_v2.nii.gz", "sub12_v1.nii.gz"], "sub1", 2),
        (["case_012_0000.nii.gz", "case_012_0001.nii.gz"], "case_012", 1),
        (["hippocampus_001.nii.gz", "hippocampus_003.nii.gz"], "hippocampus_001", 2),
        (["site1/p (3)/T1.nii", "site1/p (3)/T2.nii", "site1/p (4)/T1.nii"], "p (3)", 2),
        (["o'neil 3.png", "o'neil 4.png"], "o'neil 3", 2),
    ],
)
def test_the_example_is_of_the_paths_there_are_and_can_be_pasted(paths, taken, patients):
    words, _, told = example(paths).partition(" takes ")
    made = (
        f"{patients} patients" if patients > 1 else "all of them one patient: is it a date, a site?"
    )
    assert told == f"{taken} of {paths[0]}, which makes {made}"
    (word,) = shlex.split(words)
    pattern = compiled(word.removeprefix("patient_pattern="))
    found = [pattern.search(path).group(1) for path in paths]
    assert found[0] == taken and len(set(found)) == patients


def test_paths_without_a_number_or_a_common_form_get_a_general_example():
    assert example(["anna.nii.gz"]) == example(["a1.nii", "berta.nii"]) == GENERAL
    (word,) = shlex.split(GENERAL.partition(" takes ")[0])
    assert re.search(word.partition("=")[2], "x_y/sub7_T1.nii.gz").group(1) == "sub7"


def test_what_is_no_pattern_is_refused():
    for text in ("(", "sub"):
        with pytest.raises(UserError, match="CONFIG patient_pattern="):
            compiled(text)
