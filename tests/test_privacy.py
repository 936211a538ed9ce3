import pytest

from medssl.errors import UserError
from medssl.privacy import (
    error_report,
    findings,
    is_free_text,
    is_neutral,
    quoted,
    scrub,
    scrub_names,
)

HARMLESS = """
case_9 ct_p000_s0 hippocampus_394 sub-0001_ses-01_T1w BRATS_001 LIDC-IDRI-0001 case_00012 f00 a 0001
BraTS-GLI-00000-000 s-0123456789 images-s-0123456789 readme.txt
"""
TELLING = """
DOE_JOHN JD_1950 19500101 1950_01_01 50_01_01 MRN1234567 Müller p123456 J_D case_smith s-DOE0123456
DOE^JOHN a/b
"""


@pytest.mark.parametrize("name", HARMLESS.split())
def test_neutral_names(name):
    assert is_neutral(name)


@pytest.mark.parametrize("name", TELLING.split())
def test_names_that_may_be_a_person(name):
    assert not is_neutral(name)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("cannot open /data/DOE^JOHN_19500101/a b/x.dcm", "path"),
        (r"C:\Users\Doe\x.bin", "path"), (r"\\server\share\x", "path"), ("~/scans/x", "path"),
        ("1.2.840.113619.2.55.3.1", "uid"), ("DOE^JOHN^M", "person"), ("O'Neil^Mary Ann", "person"),
        ("seen 1950-01-02", "date"), ("02.01.1950", "date"), ("19500102", "date"),
        ("j.doe@clinic.example", "e-mail"), ("DOE_JOHN.nii.gz", "file"),
        ("Patient ID: 4711", "identity"),
    ],
)  # fmt: skip
def test_what_identities_look_like_is_found(text, kind):
    assert [k for _, _, k in findings(text)] == [kind]
    assert f"<{kind}>" in scrub(text) and not list(findings(scrub(text)))


@pytest.mark.parametrize(
    "text",
    ["http://www.w3.org/2000/svg", "0.20190512", "p-1950010112", "10/20, 1.2/s", "a/b/c", "2.8.0+cpu",
     "torch 2.8.0", "i000.dcm: cut", "found 12345678 bytes", "text/html</div>", "1e-3", "x^2"],
)  # fmt: skip
def test_figures_and_plain_words_are_left_alone(text):
    assert scrub(text) == text


def test_known_names_go_in_any_case_and_inside_other_findings():
    assert scrub("Hans MUELLER-3 /x/mueller/y z", {"mueller"}) == "Hans <word>-3 <path> z"


def test_known_names_go_however_systems_write_their_accents():
    composed, apart = "M\u00fcller Strau\u00df", "MU\u0308LLER STRAUSS"
    for word in ("M\u00fcller", "Mu\u0308ller", "M\u00dcLLER"):
        words = {word, "Strau\u00df"}
        assert scrub(composed, words) == scrub(apart, words) == "<word> <word>"
    assert scrub("Muller", {"M\u00fcller"}) == "Muller"


def test_names_of_paths_go_and_neutral_ones_stay():
    text = scrub_names("case_3: Doe and images", ["images/DOE.v2/case_3.nii"])
    assert text == "case_3: <word> and images"


def test_header_values_are_numbers_or_a_length():
    assert quoted([0.5, -1e-3]) == "[0.5, -0.001]"
    assert quoted("DOE JOHN") == "text of 8 characters" == quoted("19500102")


def test_an_error_report_says_where_and_repeats_no_name():
    try:
        scrub(None)
    except TypeError as error:
        text, place = error_report(error, [])
    assert text.startswith("TypeError: ") and place.startswith("privacy.py, line ")
    error = RuntimeError("no 'DOE' at /a/DOE/b\x1b[2J in Doe's scans")
    text, _ = error_report(error, ["scans=/a/DOE"])
    assert "doe" not in text.lower() and "\x1b" not in text


def test_messages_are_one_line_whatever_a_file_is_called():
    message = str(UserError("CUT", "a\nCUT b\x1b]0;x\u202e", "bad\r", "mend"))
    assert message.isprintable()


@pytest.mark.parametrize(
    ("values", "free"),
    [
        (["normal", "pneumonia"] * 9, False),
        ([f"class {n}" for n in range(8)], False),
        ([f"seen by Dr {n}" for n in range(9)], True),
        (["normal"] * 99 + ["opacity at the left base, told Dr Doe"], True),
        (["", ""], False),
    ],
)
def test_remarks_are_told_from_classes(values, free):
    assert is_free_text(values) == free
