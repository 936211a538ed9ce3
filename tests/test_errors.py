import pickle

from medssl.errors import UserError, one_line


def test_message_has_its_four_parts():
    error = UserError("CUT", "a.nii", "found 3 bytes, expected 5.", "copy it again")
    assert str(error) == "CUT a.nii: found 3 bytes, expected 5. Fix: copy it again"


def test_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UserError("A", "b", "c", "d")))
    assert (error.code, error.where, error.cause, error.fix) == ("A", "b", "c", "d")


def test_one_line_strips_control_characters():
    assert one_line(ValueError("a\x1b[31m\nb")) == "a [31m b"


def test_one_line_cuts_no_word_in_two():
    assert one_line(ValueError("a name"), limit=4) == "a"
    assert one_line(ValueError("a name"), limit=6) == "a name"
    assert one_line(ValueError("/patients/Doe_John"), limit=15) == "<long text>"


def test_jupyter_prints_it_without_a_traceback():
    assert UserError("A", "b", "c", "d")._render_traceback_() == ["A b: c. Fix: d"]


def test_a_question_ends_its_sentence():
    assert str(UserError("A", "b", "did you mean 'c'?", "d")) == "A b: did you mean 'c'? Fix: d"
