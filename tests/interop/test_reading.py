"""What is in a foreign file is read, and nothing of it is run."""

import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from medssl.errors import UserError
from medssl.interop.reading import read_weights
from tests.faults.conftest import MESSAGE
from tests.interop import hostile

# In a process of its own, with a canary that any of them would leave, and every attempt to start
# something or to open a connection reported.
LOOK = """
import sys
import medssl
from pathlib import Path
from medssl.errors import UserError
from medssl.interop.reading import read_weights
from tests.interop import hostile

folder, canary = Path(sys.argv[1]), Path(sys.argv[1]) / "canary"
wrong, seen = [], []
made = list(hostile.files(folder, canary))
for _, path in made[:3]:  # what torch and Python load when first asked is no fault of a file
    try:
        read_weights(path)
    except UserError:
        pass
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen",
          "socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "webbrowser.open", "exec", "compile")
watching = []
sys.addaudithook(lambda event, args: watching and event in STARTS and seen.append((watching[0], event)))
for kind, path in made:
    watching[:] = [kind]
    try:
        read_weights(path)
        wrong.append(f"{kind}: read")
    except UserError as error:
        if error.code != "WEIGHTS" or path.name not in error.where or len(str(error)) > 900:
            wrong.append(f"{kind}: {error}")
        if "weights_only=False" in str(error) or "add_safe_globals" in str(error):
            wrong.append(f"{kind}: tells how to read it unsafely: {error}")
    except BaseException as error:
        wrong.append(f"{kind}: {type(error).__name__} {error}")
    watching.clear()
    if canary.exists():
        wrong.append(f"{kind}: was run")
        canary.unlink()
print(len(made), len(hostile.streams(canary)))
print(*wrong, *map(str, seen), sep="\\n")
"""


def test_no_hostile_pickle_is_run_and_each_is_refused_in_words(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, *wrong = done.stdout.splitlines()
    files, kinds = map(int, first.split())
    assert kinds >= 40 and files == 3 * kinds
    assert [line for line in wrong if line] == []


def test_the_canary_of_a_pickle_that_is_run_is_seen(tmp_path):
    """The test above could tell: by Python's own unpickler, such a file leaves it."""
    canary = tmp_path / "canary"
    path = tmp_path / "x.pkl"
    path.write_bytes(hostile.PROTO2 + hostile.streams(canary)["os.system"] + hostile.STOP)
    code = f"import pickle; pickle.load(open({str(path)!r}, 'rb'))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert canary.exists()


def test_the_refusal_says_what_to_do(tmp_path):
    kind, path = next(hostile.files(tmp_path, tmp_path / "canary"))
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert MESSAGE.fullmatch(str(error.value))
    assert "nothing of it was read or run" in error.value.cause
    assert "safetensors" in error.value.fix and "weights_only" not in str(error.value)


def test_tensors_are_found_wherever_they_lie(tmp_path):
    state = OrderedDict(a=torch.ones(2), b=torch.zeros(3))
    whole = {
        "epoch": 3, "model": {"state_dict": state, "args": [1, 2]}, "ema": {"a": torch.ones(2) * 2},
        "optimizer": {"state": {0: {"step": torch.ones(1)}}},
    }  # fmt: skip
    for legacy in (False, True):
        torch.save(whole, tmp_path / "w.ckpt", _use_new_zipfile_serialization=not legacy)
        found = read_weights(tmp_path / "w.ckpt")
        assert set(found) == {"model.state_dict.a", "model.state_dict.b", "ema.a"}


def test_a_module_that_was_saved_whole_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(
        UserError, match="would call or build torch.nn.modules.linear.Linear.*save its state dict"
    ):
        read_weights(tmp_path / "w.pt")


def test_folders_of_a_hub_are_read_and_models_of_ours_sent_on(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert set(read_weights(tmp_path)) == {"a"}
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="is a model of medssl already.*start="):
        read_weights(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is a folder without"):
        read_weights(tmp_path / "empty")


def test_what_is_not_finite_is_refused(tmp_path):
    save_file({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"1 tensors hold NaN or infinite values \(a\)"):
        read_weights(tmp_path / "w.safetensors")


def test_a_file_without_names_is_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no tensor with a name"):
        read_weights(tmp_path / "w.pt")


def test_a_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(UserError, match="unpacks to 10,000,000 bytes"):
        read_weights(tmp_path / "w.pt")
