import os
import signal
import tempfile
from pathlib import Path

import pytest

# A home of its own, so that no test reads or writes the developer's patient key. Matplotlib's font
# cache, half a minute to make, stays where it is.
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
_home = tempfile.TemporaryDirectory(prefix="medssl-home-")
os.environ["HOME"] = _home.name

HEARD = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """A shell has its background jobs ignore Ctrl-C, and what is ignored stays so in what they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """The command line goes on to hear some, which processes forked by later tests would inherit: one that
    is asked to end before Python is up in it would lose the signal, and be waited for without an end."""
    yield
    for number, heard in HEARD.items():
        signal.signal(number, heard)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Benchmarks are slow tests wherever pytest is started."""
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.slow)
