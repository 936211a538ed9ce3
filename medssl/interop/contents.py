"""What a file that was given as weights is by its first bytes, where that is something else."""

import codecs
import zipfile
from pathlib import Path

from medssl.errors import UserError, one_line

HEAD = 4096
INFLATED = 4  # times its size that a file may unpack to; torch stores tensors as they are
WEB = ("<!doctype html", "<html", "<?xml")
POINTER = "version https://git-lfs"
# First bytes of other kinds of file: what it is, and what to do.
OTHERS = (
    (b"\x89HDF", "is an HDF5 file, as Keras writes them", "convert it where it was made"),
    (b"\x1f\x8b", "is packed by gzip", "unpack it first"),
    (b"\x93NUMPY", "is an array of NumPy without a name", "give the file of a state dict"),
)
AGAIN = "copy or download it again"
PYTORCH = "give a file of weights: .safetensors, or the .pt or .pth of a state dict"


def check_contents(path: Path) -> None:
    """Raises UserError WEIGHTS where a file is empty, text, a web page, or of another library."""
    with open(path, "rb") as stream:
        head = stream.read(HEAD)
    if found := _other(head, path):
        cause, fix = found
        raise UserError("WEIGHTS", path, f"{cause}; nothing of it was read or run", fix)


def _other(head: bytes, path: Path) -> tuple[str, str] | None:
    """What it is, and what to do; None for what may be weights."""
    if not head:
        return "is empty", AGAIN
    for start, kind, fix in OTHERS:
        if head.startswith(start):
            return kind, fix
    text = _text(head)
    if text.startswith(POINTER):
        return (
            "is the pointer that Git LFS left in place of the weights",
            "run git lfs pull in its folder, or download the file itself",
        )
    if text.lower().startswith(WEB):
        return (
            "is a web page, so the download gave a login or an error in place of the weights",
            "download it again, signed in where its makers ask for that",
        )
    if text:
        return "is a text file, and no weights", PYTORCH
    ours = path.suffix == ".safetensors"
    if head[8:9] == b"{" and not any(head[6:8]):  # safetensors: a length of 8 bytes, then JSON
        cause = "is a safetensors file by its contents"
        return None if ours else (cause, "let its name end in .safetensors")
    if ours:
        return None  # its own reader says what is wrong with it
    if zipfile.is_zipfile(path):
        return _other_archive(path)
    if not head.startswith(b"\x80"):  # the mark of every pickle that torch has written
        return "is no file that PyTorch has written", PYTORCH
    return None


def _other_archive(path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        return f"is a zip archive that is not whole ({one_line(error, 100)})", AGAIN
    parts = {member.filename.rpartition("/")[2] for member in members}
    if "data.pkl" not in parts:
        return (
            "is a zip archive without weights of PyTorch",
            "unpack it, and give the file of weights in it",
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > INFLATED * path.stat().st_size:
        return (
            f"unpacks to {unpacked:,} bytes, {INFLATED} times its size or more",
            "torch packs no tensors: get the file from who made it, as .safetensors",
        )
    if "constants.pkl" in parts:
        return (
            "is a TorchScript program, and no file of weights alone",
            "save its state dict where it was made: "
            "safetensors.torch.save_file(program.state_dict(), 'weights.safetensors')",
        )
    return None


def _text(head: bytes) -> str:
    """The beginning of a text file; nothing of any other."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a last letter may be cut
    except UnicodeDecodeError:
        return ""
    shown = text.lstrip("\ufeff").strip()
    return shown if all(c.isprintable() or c in "\t\r\n\f" for c in text.lstrip("\ufeff")) else ""
