"""A file that is no weights is called what it is, and torch and safetensors are not asked."""

import io
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from medssl.errors import UserError
from medssl.interop.contents import check_contents
from medssl.interop.reading import read_weights


def array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


def archive(*names) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name in names:
            written.writestr(name, "x")
    return stream.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
BROKEN = archive("archive/data.pkl").replace(b"PK\x01\x02", b"PK\x09\x09")
OTHERS = {
    "empty": ("w.pt", b"", "is empty"),
    "text": ("w.pt", b"epoch 3\nloss 0.5\n", "is a text file, and no weights"),
    "letters cut in two": ("w.pt", b"a" + "ß".encode() * 3000, "is a text file"),
    "text of Windows": ("w.bin", "\ufeffNotes\r\n\tto self".encode(), "is a text file"),
    "text as safetensors": ("w.safetensors", b"{}", "is a text file"),
    "pointer": ("w.safetensors", POINTER, "pointer that Git LFS left"),
    "pointer as pt": ("w.pt", POINTER, "pointer that Git LFS left"),
    "page": ("w.pth", b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "keras": ("w.pt", b"\x89HDF\r\n\x1a\n\0\0", "HDF5 file"),
    "gzip": ("w.tar", b"\x1f\x8b\x08\0", "packed by gzip"),
    "numpy": ("w.pt", array(), "array of NumPy"),
    "safetensors": ("w.pt", save({"a": torch.ones(2)}), "a safetensors file by its contents"),
    "other archive": ("w.pt", archive("word/document.xml"), "a zip archive without weights"),
    "broken archive": ("w.pt", BROKEN, "a zip archive that is not whole"),
    "script": ("w.pt", archive("a/data.pkl", "a/constants.pkl"), "a TorchScript program"),
    "noise": ("w.pt", bytes(range(1, 200)), "no file that PyTorch has written"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_something_else_is_called_that_without_words_of_python_s(case, tmp_path):
    name, content, words = OTHERS[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_weights(tmp_path / name)
    said = str(error.value)
    assert error.value.code == "WEIGHTS" and name in error.value.where
    assert "nothing of it was read or run" in error.value.cause and error.value.fix
    assert not any(word in said for word in ("ickle", "operand", "instruction", "GLOBAL", "Error:"))


def test_what_a_text_says_is_not_repeated(tmp_path):
    """It may be a list of patients."""
    (tmp_path / "w.pt").write_text("Surname, Name, 1950-01-01")
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "w.pt")
    assert "Surname" not in str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_pass(legacy, tmp_path):
    state = {"a": torch.ones(2)}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        check_contents(tmp_path / name)
        assert set(read_weights(tmp_path / name)) == {"a"}
