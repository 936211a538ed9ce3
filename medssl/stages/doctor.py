"""Say what is installed, where it will run, what is missing and the command that mends it.

Leaves with exit status 0 unless something is missing that medssl cannot do without.
"""

import importlib
import os
import platform
import shlex
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pydantic import Field

from medssl import __version__, shipped
from medssl.config import Config as Base
from medssl.errors import UserError, one_line

ROOT = shipped.PACKAGE.parent
EXTRAS = {
    "dicom": "compressed DICOM",
    "ann": "nearest neighbours among many scans",
    "track": "experiment trackers",
    "export": "ONNX",
    "nnunet": "passing weights on to nnU-Net",
    "maps": "UMAP of features",
    "hub": "model hubs",
    "notebook": "notebooks",
    "dev": "tests and style",
}
Row = tuple[str, str, str]  # what, found, remark


class Config(Base):
    positional: ClassVar = ("folder",)
    examples: ClassVar = ("medssl doctor", "medssl doctor folder=/data")
    folder: Path = Field(Path("."), description="folder whose free disk space is told")


@dataclass(frozen=True)
class Library:
    """A package that medssl declares; `extra` is "" for what it cannot do without."""

    requirement: Requirement
    extra: str
    version: str | None  # None: not installed

    @property
    def fits(self) -> bool:
        """Installed, and within the declared range."""
        return self.version is not None and self.requirement.specifier.contains(
            self.version, prereleases=True
        )


def run(config: Config) -> None:
    python_range, libraries = declared()
    needed = [library for library in libraries if not library.extra]
    tried = imports()
    _section("Software", [*software(python_range, needed), *tried])
    _section("Extras", extras(libraries))
    _section("Devices", devices())
    _section("Threads", threads())
    _section("Disk", [disk(config.folder)])
    _section("DICOM transfer syntaxes", transfer_syntaxes())
    _mend(python_range, libraries, tried)


def declared() -> tuple[SpecifierSet, list[Library]]:
    """The range of Python and all declared packages, from pyproject.toml or the installed wheel."""
    if _is_checkout():
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        table = tomllib.loads(text)["project"]
        groups = {"": table["dependencies"], **table["optional-dependencies"]}
        pairs = [(Requirement(text), extra) for extra, texts in groups.items() for text in texts]
        python_range = table["requires-python"]
    else:
        about = metadata.metadata("medssl")
        extras = about.get_all("Provides-Extra") or []
        pairs = [_group(Requirement(text), extras) for text in about.get_all("Requires-Dist") or []]
        python_range = about["Requires-Python"]
    return SpecifierSet(python_range), [Library(r, e, _version(r.name)) for r, e in pairs]


def software(python_range: SpecifierSet, libraries: Iterable[Library]) -> list[Row]:
    fits = python_range.contains(platform.python_version(), prereleases=True)
    rows = [
        ("Python", platform.python_version(), _remark(fits, python_range)),
        ("medssl", __version__, ""),
    ]
    for library in sorted(libraries, key=lambda library: library.requirement.name.lower()):
        found = library.version or "missing"
        rows.append(
            (library.requirement.name, found, _remark(library.fits, library.requirement.specifier))
        )
    return rows


def imports() -> list[Row]:
    """Libraries with binaries that must fit one another: whether they can be imported."""
    rows = []
    for name in ("torch", "torchvision"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            rows.append((f"import {name}", "fails", one_line(error)))
        else:
            rows.append((f"import {name}", "works", ""))
    return rows


def extras(libraries: Iterable[Library]) -> list[Row]:
    rows = []
    for extra in dict.fromkeys(library.extra for library in libraries if library.extra):
        group = [library for library in libraries if library.extra == extra]
        lacking = [library.requirement.name for library in group if not library.fits]
        found = "installed" if not lacking else f"{len(group) - len(lacking)} of {len(group)}"
        remark = EXTRAS.get(extra, "") + (f"; without {', '.join(lacking)}" if lacking else "")
        rows.append((extra, found, remark))
    return rows


def devices() -> list[Row]:
    """The CPU, and every accelerator that torch sees, with memory in GiB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = _gib(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    rows = [("cpu", f"{cores} cores", memory)]
    try:
        import torch

        from medssl.training.speed import has_bfloat16
    except (ImportError, OSError) as error:
        return [*rows, ("accelerator", "unknown", one_line(error))]
    bfloat16 = has_bfloat16()
    if bfloat16 is not None:
        advice = (
            "fit.precision=bf16-mixed is faster" if bfloat16 else "leave fit.precision as it is"
        )
        rows.append(("cpu, bfloat16", "yes" if bfloat16 else "no", advice))
    accelerators = []
    for i in range(torch.cuda.device_count()):
        try:
            free, total = torch.cuda.mem_get_info(i)
            remark = f"{_gib(total)}, {_gib(free)} free"
        except RuntimeError as error:
            remark = f"cannot be used: {one_line(error)}"
        accelerators.append((f"cuda:{i}", torch.cuda.get_device_name(i), remark))
    if torch.backends.mps.is_available():
        accelerators.append(("mps", "Apple GPU", "shares the memory of the machine"))
    none = ("accelerator", "none", f"torch {torch.__version__} sees no GPU")
    return [*rows, *(accelerators or [none])]


def threads() -> list[Row]:
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    advice = (
        "" if policy.upper() == "PASSIVE" else "on a shared machine: export OMP_WAIT_POLICY=PASSIVE"
    )
    rows = [
        ("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "not set"), ""),
        ("OMP_WAIT_POLICY", policy or "not set", advice),
    ]
    try:
        import torch
    except (ImportError, OSError) as error:
        return [*rows, ("torch threads", "unknown", one_line(error))]
    return [*rows, ("torch threads", str(torch.get_num_threads()), "")]


def disk(folder: Path) -> Row:
    """Free space where `folder` lies, or would lie."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    remark = "" if folder.exists() else ", the folder is not there yet"
    return (str(folder), f"{_gib(usage.free)} free", f"of {_gib(usage.total)}{remark}")


def transfer_syntaxes() -> list[Row]:
    """Every transfer syntax of still images that pydicom has a decoder for, and what decodes it."""
    try:
        from pydicom.pixels import get_decoder
        from pydicom.uid import AllTransferSyntaxes
    except ImportError as error:
        return [("pydicom", "missing", one_line(error))]
    rows = []
    for syntax in AllTransferSyntaxes:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            continue  # video, audio and references: medssl refuses these by name
        verdict = "yes" if decoder.is_available else "no"
        rows.append(
            (
                syntax.name.partition(" (Process 14 [")[0],
                verdict,
                ", ".join(decoder.available_plugins),
            )
        )
    return rows


def pip_command(requirements: Iterable[Requirement]) -> str:
    """The command that installs `requirements` and leaves the torch that is there alone."""
    words = ["python", "-m", "pip", "install"]
    requirements = list(requirements)
    plain = [f"{r.name}{r.specifier}" for r in requirements]
    pins, torch = ROOT / "constraints.txt", _version("torch")
    torch = f"torch=={Version(torch).public}" if torch else None
    if _is_checkout() and (torch is None or torch in pins.read_text().splitlines()):
        words += ["-c", str(pins)]
    elif torch and "torch" not in [r.name for r in requirements]:
        plain.append(torch)
    return shlex.join(words + plain)


def _mend(python_range: SpecifierSet, libraries: list[Library], tried: list[Row]) -> None:
    """Print what to install. Raises UserError INSTALL when medssl cannot do without it."""
    for extra in dict.fromkeys(library.extra for library in libraries if library.extra):
        lacking = [x.requirement for x in libraries if x.extra == extra and not x.fits]
        if lacking:
            print(f"\nFor {EXTRAS.get(extra, extra)}:\n  {pip_command(lacking)}")
    if not python_range.contains(platform.python_version(), prereleases=True):
        raise UserError(
            "INSTALL", f"Python {platform.python_version()}", f"medssl needs {python_range}",
            "make the environment anew with such a Python",
        )  # fmt: skip
    lacking = [x.requirement for x in libraries if not x.extra and not x.fits]
    if lacking:
        raise UserError(
            "INSTALL", ", ".join(r.name for r in lacking),
            "missing, or outside the range that medssl needs", pip_command(lacking),
        )  # fmt: skip
    broken = [f"{what}: {cause}" for what, found, cause in tried if found == "fails"]
    if broken:
        raise UserError(
            "INSTALL", "; ".join(broken), "installed, and cannot be imported",
            "install torch and torchvision of matching versions together",
        )  # fmt: skip
    print("\nNothing that medssl needs is missing.")


def _section(title: str, rows: list[Row]) -> None:
    wide = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    print(f"\n{title}")
    for what, found, remark in rows:
        print(f"  {what.ljust(wide[0])}  {found.ljust(wide[1])}  {remark}".rstrip())


def _is_checkout() -> bool:
    """Whether this is the source tree, with pyproject.toml and the pins, and no installed wheel."""
    return not (shipped.PACKAGE / "_shipped").is_dir()


def _group(requirement: Requirement, extras: list[str]) -> tuple[Requirement, str]:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return requirement, ""
    return requirement, next(
        (e for e in extras if marker.evaluate({"extra": e})), "other platforms"
    )


def _remark(fits: bool, specifier: SpecifierSet) -> str:
    return f"{'ok' if fits else 'NOT OK'}, needs {specifier}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gib(n: int) -> str:
    return f"{n / 2**30:.1f} GiB"
