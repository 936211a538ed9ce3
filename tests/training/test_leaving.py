"""Signals that come before training listens; those that come later are in test_signals.py."""

import os
import signal
import subprocess
import sys

import pytest

HEARING = """
import os, signal, sys
from medssl.training.leaving import hear_early
assert "torch" not in sys.modules
if "ignored" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
hear_early()
os.kill(os.getpid(), int(sys.argv[1]))
print("went on")
"""


def told(number, *words, **env):
    return subprocess.run(
        [sys.executable, "-c", HEARING, str(int(number)), *words], capture_output=True, text=True,
        env={**os.environ, **env},
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_it_leaves_in_words_and_with_the_code_of_a_run_that_is_stopped(number):
    found = told(number)
    assert found.returncode == 143 and found.stdout == ""
    words = "before the end: the same command is to be given again"
    assert found.stderr == f"stopped by {number.name} {words}\n"


def test_of_several_ranks_one_speaks_and_what_is_ignored_stays_so():
    assert told(signal.SIGTERM, RANK="1").stderr == ""
    found = told(signal.SIGTERM, "ignored")
    assert (found.returncode, found.stdout) == (0, "went on\n")


def test_slurm_runs_a_job_again_that_had_not_begun(tmp_path):
    fake = tmp_path / "scontrol"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    fake.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "12"}
    assert "stopped by SIGTERM" in told(signal.SIGTERM, **env).stderr
    assert not (tmp_path / "asked").exists()
    assert "and Slurm will do so" in told(signal.SIGUSR1, **env).stderr
    assert (tmp_path / "asked").read_text() == "requeue 12\n"


def test_the_command_line_listens_at_once():
    script = (
        "import os, signal, sys\n"
        "from medssl import cli\n"
        "def begun(*_): os.kill(os.getpid(), signal.SIGUSR1)\n"
        "cli.execute = begun\n"
        "sys.argv = ['medssl', 'pretrain']\n"
        "cli.main()\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 143 and "stopped by SIGUSR1" in found.stderr
