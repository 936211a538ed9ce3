"""Pickles that would run something when they are loaded carelessly, each leaving a canary file.

Made by hand from opcodes, since Python's own pickler would not write most of them. None is ever loaded
by Python's unpickler here.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

MARK, STOP, REDUCE, BUILD, NEWOBJ = b"(", b".", b"R", b"b", b"\x81"
EMPTY_DICT, SETITEM, SETITEMS, TUPLE = b"}", b"s", b"u", b"t"
TUPLE1, TUPLE2, TUPLE3, MEMOIZE, POP = b"\x85", b"\x86", b"\x87", b"\x94", b"0"
STACK_GLOBAL, PROTO2, PROTO4, NONE = b"\x93", b"\x80\x02", b"\x80\x04", b"N"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else text(value)


def by_global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def by_stack(module: str, name: str) -> bytes:
    return short(module) + short(name) + STACK_GLOBAL


def called(function: bytes, *arguments: bytes) -> bytes:
    ends = {1: TUPLE1, 2: TUPLE2, 3: TUPLE3}
    if len(arguments) in ends:
        return function + b"".join(arguments) + ends[len(arguments)] + REDUCE
    return function + MARK + b"".join(arguments) + TUPLE + REDUCE


def number(n: int) -> bytes:
    return b"K" + bytes([n])


def listed(*items: bytes) -> bytes:
    return b"]" + MARK + b"".join(items) + b"e"


def entry(key: str, value: bytes) -> bytes:
    return EMPTY_DICT + text(key) + value + SETITEM


def streams(canary: Path) -> dict[str, bytes]:
    """What kind it is, and the pickle: opcodes without protocol header and STOP."""
    shell, python = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    opened = called(by_global("builtins", "open"), text(str(canary)), text("w"))
    g = by_global
    system = called(g("os", "system"), text(shell))
    the_os = called(g("importlib", "import_module"), text("os"))
    found = {
        "os.system": system,
        "posix.system": called(g("posix", "system"), text(shell)),
        "nt.system": called(g("nt", "system"), text(shell)),
        "os.popen": called(g("os", "popen"), text(shell)),
        "os.execl": called(g("os", "execl"), text("/bin/sh"), text("sh"), text("-c"), text(shell)),
        "os.spawnl": called(
            g("os", "spawnl"), number(0), text("/bin/touch"), text("touch"), text(str(canary))
        ),
        "os.mkdir": called(g("os", "mkdir"), text(str(canary))),
        "os.open": called(g("os", "open"), text(str(canary)), number(65)),
        "subprocess.Popen": called(
            g("subprocess", "Popen"), listed(text("touch"), text(str(canary)))
        ),
        "subprocess.check_output": called(
            g("subprocess", "check_output"), listed(text("touch"), text(str(canary)))
        ),
        "subprocess.getoutput": called(g("subprocess", "getoutput"), text(shell)),
        "builtins.exec": called(g("builtins", "exec"), text(python)),
        "builtins.eval": called(g("builtins", "eval"), text(python)),
        "__builtin__.eval": called(g("__builtin__", "eval"), text(python)),
        "builtins.compile": called(
            g("builtins", "exec"),
            called(g("builtins", "compile"), text(python), text("x"), text("exec")),
        ),
        "builtins.open": opened,
        "io.open": called(g("io", "open"), text(str(canary)), text("w")),
        "pathlib write": called(
            g("pathlib", "Path.touch"), called(g("pathlib", "PosixPath"), text(str(canary)))
        ),
        "builtins.__import__": called(
            g("builtins", "getattr"),
            called(g("builtins", "__import__"), text("os")),
            text("system"),
        ),
        "getattr chain": called(
            called(g("builtins", "getattr"), the_os, text("system")), text(shell)
        ),
        "operator.attrgetter": called(called(g("operator", "attrgetter"), text("system")), the_os),
        "operator.methodcaller": called(
            called(g("operator", "methodcaller"), text("system"), text(shell)), the_os
        ),
        "functools.partial": called(
            called(g("functools", "partial"), g("os", "system"), text(shell))
        ),
        "functools.reduce": called(
            g("functools", "reduce"), g("os", "system"), listed(text(shell))
        ),
        "map of system": called(
            g("builtins", "list"),
            called(g("builtins", "map"), g("os", "system"), listed(text(shell))),
        ),
        "importlib.import_module": called(g("importlib", "import_module"), text("antigravity")),
        "runpy._run_code": called(
            g("runpy", "_run_code"),
            called(g("builtins", "compile"), text(python), text("x"), text("exec")),
            EMPTY_DICT,
        ),
        "runpy.run_path": called(g("runpy", "run_path"), text(str(canary.with_suffix(".py")))),
        "ctypes.CDLL": called(g("ctypes", "CDLL"), NONE),
        "cffi.verify": called(g("cffi", "FFI")),
        "timeit.timeit": called(g("timeit", "timeit"), text(python)),
        "cProfile.run": called(g("cProfile", "run"), text(python)),
        "pdb.run": called(g("pdb", "run"), text(python)),
        "code.interact": called(g("code", "InteractiveInterpreter.runcode"), NONE, text(python)),
        "pickle.loads": called(
            g("pickle", "loads"), b"C" + bytes([len(b"cos\nsystem\n.")]) + b"cos\nsystem\n."
        ),
        "marshal.loads": called(g("marshal", "loads"), b"C\x01N"),
        "types.CodeType": called(g("types", "FunctionType"), NONE, EMPTY_DICT),
        "webbrowser.open": called(g("webbrowser", "open"), text("file:///")),
        "shutil.copyfile": called(
            g("shutil", "copyfile"), text("/etc/hostname"), text(str(canary))
        ),
        "socket": called(g("socket", "create_connection"), text("localhost")),
        "torch.load": called(g("torch", "load"), text("other.pt")),
        "torch.hub": called(g("torch.hub", "load"), text("a/b"), text("c")),
        "torch.serialization": called(g("torch.serialization", "_load"), NONE),
        "torch.jit": called(g("torch.jit", "load"), text("x.pt")),
        "torch.compiled code": called(
            g("torch._inductor.codecache", "PyCodeCache.load"), text(python)
        ),
        "torch.storage": called(g("torch.storage", "_load_from_bytes"), b"C\x04abcd"),
        "numpy.load": called(g("numpy", "load"), text("x.npy")),
        "numpy fromfile": called(
            g("numpy.testing._private.utils", "runstring"), text(python), EMPTY_DICT
        ),
        "numpy object array": called(
            g("numpy.core.multiarray", "_reconstruct"),
            g("numpy", "ndarray"),
            number(0) + TUPLE1,
            b"C\x01b",
        )
        + MARK
        + number(1)
        + number(1)
        + TUPLE1
        + called(g("numpy", "dtype"), text("O8"))
        + b"\x89"
        + listed(opened)
        + TUPLE
        + BUILD,
        "pandas eval": called(g("pandas", "eval"), text(python)),
        "logging config": called(g("logging.config", "fileConfig"), text("x.ini")),
        "pip main": called(g("pip", "main"), listed(text("install"), text("x"))),
        "monai": called(g("monai.bundle", "ConfigParser"), EMPTY_DICT),
        "medssl's own": called(
            g("medssl.config", "resolve"), text("os:system"), EMPTY_DICT, text("k")
        ),
        # by other opcodes than GLOBAL and REDUCE
        "STACK_GLOBAL": called(by_stack("os", "system"), text(shell)),
        "STACK_GLOBAL dotted": called(by_stack("builtins", "eval.__call__"), text(python)),
        "INST": MARK + text(shell) + b"ios\nsystem\n",
        "OBJ": MARK + g("os", "system") + text(shell) + b"o",
        "NEWOBJ": g("subprocess", "Popen")
        + listed(text("touch"), text(str(canary)))
        + TUPLE1
        + NEWOBJ,
        "NEWOBJ_EX": g("subprocess", "Popen")
        + listed(text("touch"), text(str(canary)))
        + TUPLE1
        + EMPTY_DICT
        + b"\x92",
        "BUILD with __setstate__": called(g("collections", "OrderedDict"))
        + entry("__setstate__", g("os", "system"))
        + BUILD
        + text(shell)
        + BUILD,
        "BUILD of slots": called(g("collections", "OrderedDict"))
        + NONE
        + entry("__class__", g("subprocess", "Popen"))
        + TUPLE2
        + BUILD,
        "EXT1": called(b"\x82\x01", text(shell)),
        "EXT2": called(b"\x83\x01\x01", text(shell)),
        "EXT4": called(b"\x84\x01\x01\x01\x00", text(shell)),
        "PERSID": b"Pos.system\n",
        "BINPERSID": MARK
        + text("storage")
        + g("os", "system")
        + text("0")
        + text("cpu")
        + number(1)
        + TUPLE
        + b"Q",
        "memo": g("os", "system") + b"q\x01" + POP + called(b"h\x01", text(shell)),
        "MEMOIZE": by_stack("os", "system") + MEMOIZE + POP + called(b"h\x00", text(shell)),
        # wrapped in what a state dict is made of
        "in a tuple": MARK + system + number(1) + TUPLE,
        "in a list": listed(number(1), system),
        "in a dict": entry("state_dict", system),
        "as a key": EMPTY_DICT + system + number(1) + SETITEM,
        "in an OrderedDict": called(g("collections", "OrderedDict"))
        + text("weight")
        + system
        + SETITEM,
        "deep in dicts": entry("a", entry("b", entry("c", system))),
        "argument of a tensor": called(
            g("torch._utils", "_rebuild_tensor_v2"),
            system,
            number(0),
            number(1) + TUPLE1,
            number(1) + TUPLE1,
        ),
        "parameter of a tensor": called(
            g("torch._utils", "_rebuild_parameter"),
            system,
            b"\x89",
            called(g("collections", "OrderedDict")),
        ),
        "backward hook": called(
            g("torch._utils", "_rebuild_parameter_with_state"), NONE, b"\x89", NONE, system
        ),
        "dispatched tensor": called(
            g("torch._tensor", "_rebuild_from_type_v2"),
            g("os", "system"),
            g("os", "system"),
            text(shell) + TUPLE1,
            NONE,
        ),
    }
    return found


def files(folder: Path, canary: Path) -> Iterator[tuple[str, Path]]:
    """(kind, file) of every pickle, as torch's zip and by itself, in protocols 2 and 4."""
    for number_, (kind, stream) in enumerate(streams(canary).items()):
        body = PROTO4 + stream + STOP
        path = folder / f"{number_}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", body)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
        yield f"{kind}, zip", path
        path = folder / f"{number_}.pth"
        path.write_bytes(PROTO2 + stream + STOP)
        yield f"{kind}, bare", path
        path = folder / f"{number_}.pth.tar"
        path.write_bytes(legacy(PROTO2 + stream + STOP))
        yield f"{kind}, legacy", path


def legacy(body: bytes) -> bytes:
    """As torch before 1.6 wrote: magic number, protocol, system, the object, no storages."""
    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001}):
        out.write(pickle.dumps(value, protocol=2))
    out.write(body)
    out.write(pickle.dumps([], protocol=2))
    return out.getvalue()
