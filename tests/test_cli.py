import importlib
import signal
import subprocess
import sys
import typing

import pytest
from typer.testing import CliRunner

from medssl import cli, shipped
from medssl.config import Config
from medssl.describe import describe


def medssl(*words):
    return CliRunner().invoke(cli.app, list(words))


def test_help_loads_no_torch_and_nothing_heavy():
    code = (
        "import sys; from medssl.cli import app; from typer.testing import CliRunner; "
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0 and 'pretrain' in r.stdout; "
        "heavy = {'torch', 'monai', 'pandas', 'numpy', 'matplotlib', 'timm', 'SimpleITK'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_every_key_and_gives_two_examples(verb):
    stage = importlib.import_module(f"medssl.stages.{verb}")
    assert issubclass(stage.Config, Config) and callable(stage.run)
    result = medssl(verb, "--help")
    assert result.exit_code == 0
    for key, _, _, meaning in describe(stage.Config):
        assert key in result.output and meaning, key
    examples = result.output.split("Examples:")[1].strip().splitlines()
    assert len(examples) >= 2 and all(e.strip().startswith(f"medssl {verb}") for e in examples)


@pytest.mark.parametrize(
    "verb, preset", [(v, p) for v, names in shipped.presets().items() for p in names]
)
def test_help_of_a_preset_shows_its_values_and_the_options_of_its_parts(verb, preset):
    stage = importlib.import_module(f"medssl.stages.{verb}")
    result = medssl(verb, preset, "--help")
    assert result.exit_code == 0 and f"default with {preset}" in result.output
    for name in getattr(stage, "TABLES", {}):
        assert f"{name}." in result.output or (verb, name) == ("reduce", "signature"), name
        assert f"of the {name} chosen" not in result.output


def test_help_says_where_many_words_may_stand():
    assert "medssl compare RUNS ... key=value" in medssl("compare", "--help").output
    assert "medssl runs [WHAT] [FOLDER] key=value" in medssl("runs", "--help").output


def test_help_of_a_pipeline_is_its_own():
    shown = medssl("run", "scans_to_store", "--help").output
    assert "medssl run scans_to_store scans=SCANS out=cohort" in shown and "quickstart" not in shown


def test_help_of_reduce_shows_the_options_of_the_signature_chosen():
    shown = medssl("reduce", "signature=nmi", "--help").output
    assert "signature.bins" in shown and "Keys signature.* are those of nmi, backbone.*" in shown


def test_faults_of_the_user_end_with_two_and_one_line():
    for words in (
        ["pretrain", "vocoo"],
        ["pretrain", "mae", "fit.stepz=4"],
        ["prepare", "--out", "x"],
        ["evaluate", "nowhere"],
        ["index", "nowhere"],
    ):
        result = medssl(*words)
        assert result.exit_code == 2, words
        assert "Fix: " in result.output and "Traceback" not in result.output


def test_too_many_bad_inputs_end_with_three(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.dcm").write_bytes(b"")
    result = medssl("index", f"{tmp_path}/scans", f"out={tmp_path}/m", "max_bad=0.5")
    assert result.exit_code == 3 and "TOO_MANY_BAD" in result.output and "Fix: " in result.output


def test_misspelt_key_names_the_nearest():
    assert "did you mean 'fit.steps'" in medssl("pretrain", "mae", "fit.stepz=4").output


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("best", "'medssl runs best'?"),
        ("ls", "'medssl runs ls'?"),
        ("voco_small", "'medssl pretrain voco_small'?"),
        ("quickstart", "'medssl run quickstart'?"),
        ("finetun", "'finetune'?"),
    ],
)
def test_a_word_that_stands_behind_a_verb_is_told_with_it(word, meant):
    result = medssl(word)
    assert result.exit_code == 2 and f"Did you mean {meant}" in " ".join(result.output.split())


def test_the_actions_that_are_told_are_those_of_the_verbs():
    for verb, words in cli.ACTIONS.items():
        what = importlib.import_module(f"medssl.stages.{verb}").Config.model_fields["what"]
        assert typing.get_args(what.annotation) == words


def test_debug_shows_where_it_happened():
    assert medssl("evaluate", "nowhere", "--debug").exception.code == "CHECKPOINT"


def test_a_fault_of_ours_is_one_line_too_and_debug_shows_it(monkeypatch):
    from medssl.stages import doctor

    def broken(config):
        raise RuntimeError("boom\nand more")

    monkeypatch.setattr(doctor, "run", broken)
    result = medssl("doctor")
    assert result.exit_code == 1
    assert result.output.startswith("INTERNAL medssl doctor: RuntimeError: boom and more. Fix: ")
    assert isinstance(medssl("doctor", "--debug").exception, RuntimeError)


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (
            KeyboardInterrupt(),
            130,
            "interrupted: what was not finished is done by the same command\n",
        ),
        (KeyboardInterrupt("the run is saved"), 130, ""),  # the run has said so
        (SystemExit(143), 143, ""),
        (
            MemoryError("Unable to allocate 9 GiB"),
            2,
            "MEMORY medssl doctor: MemoryError: Unable to ",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
            2,
            "MEMORY medssl doctor: ",
        ),
    ],
)
def test_how_a_command_ends_that_was_stopped_or_found_no_memory(monkeypatch, raised, code, told):
    def fails(config):
        raise raised

    monkeypatch.setattr("medssl.stages.doctor.run", fails)
    result = medssl("doctor")
    assert result.exit_code == code
    assert result.output.startswith(told) if told else result.output == ""


def test_help_gives_the_range_of_a_number():
    (line,) = [x for x in medssl("study", "--help").output.splitlines() if "resamples" in x]
    assert "int >= 1000" in line


def test_who_reads_the_first_lines_only_is_not_told_of_a_broken_pipe(tmp_path):
    command = [sys.executable, "-m", "medssl", "methods"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_pipe_of_our_own_that_breaks_is_an_error(monkeypatch):
    def broken(verb, words):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "execute", broken)
    result = medssl("methods")
    assert result.exit_code == 2 and "FILE methods: Broken pipe" in result.output
