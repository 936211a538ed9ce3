"""The import direction: each layer imports only what lies below it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    # Parts of the lowest and the highest layer may import one another; siblings elsewhere may not.
    {
        "errors",
        "seeding",
        "progress",
        "ranks",
        "command_line",
        "config",
        "describe",
        "privacy",
        "shipped",
        "stopwatch",
        "torchvision_import",
        "trainable",
        "yaml_file",
    },
    {"data", "augment", "backbones", "evaluation"},
    {"methods", "tasks", "training", "curation", "interop", "reports"},
    {"stages"},
    {"cli", "__main__"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
OPEN = (0, len(LAYERS) - 1)
# "medssl.methods.voco:VoCo" in a table is an import, only later.
NAMED_MODULE = re.compile(r"medssl(\.\w+)+(:\w+)?")
HEAVY = {
    "torch",
    "torchvision",
    "monai",
    "timm",
    "sklearn",
    "matplotlib",
    "SimpleITK",
    "lightning_fabric",
}


def imported(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import in a file of `package`, functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if NAMED_MODULE.fullmatch(node.value):
                yield node.lineno, node.value.partition(":")[0]
        elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            start = str(node.values[0].value)
            if re.fullmatch(r"medssl(\.\w+)+\.", start):
                yield node.lineno, start.rstrip(".")


def violations(root: Path) -> list[str]:
    """Imports of `root`/medssl that go up or sideways, and all imports of pipelines."""
    found = []
    for path in sorted((root / "medssl").rglob("*.py")):
        if path.parent == root / "medssl" and path.stem == "__init__":
            here = "torchvision_import"  # the package itself may only reach for the lowest layer
        else:
            here = path.relative_to(root / "medssl").parts[0].removesuffix(".py")
        if here not in RANK:
            found.append(f"{path}: {here} belongs to no layer")
            continue
        package = ".".join(path.relative_to(root).parent.parts)
        for line, module in imported(path, package):
            top, _, rest = module.partition(".")
            there = rest.partition(".")[0]
            if top == "pipelines":
                found.append(f"{path}:{line}: nothing imports pipelines")
            elif top == "medssl" and there in RANK and not allowed(here, there):
                found.append(f"{path}:{line}: {here} imports {there}")
    for path in sorted((root / "pipelines").rglob("*.py")):
        for line, module in imported(path, "pipelines"):
            if module.partition(".")[0] == "pipelines":
                found.append(f"{path}:{line}: nothing imports pipelines")
    return found


def allowed(here: str, there: str) -> bool:
    if here == there or RANK[there] < RANK[here]:
        return True
    return RANK[here] == RANK[there] and RANK[here] in OPEN


def test_import_direction():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    "file, text",
    [
        ("data/store.py", "from medssl.augment.compose import Augment"),
        ("data/store.py", "from medssl import training"),
        ("data/index/walk.py", "def f():\n    import medssl.methods.voco"),
        ("data/index/walk.py", "from ...stages import call"),
        ("data/store.py", "from ..evaluation import metrics"),
        ("methods/voco.py", "from medssl.tasks.segmentation import Segmentation"),
        ("training/loop.py", "METHODS = {'voco': 'medssl.methods.voco:VoCo'}"),
        ("training/loop.py", "import importlib\nimportlib.import_module(f'medssl.stages.{1}')"),
        ("reports/html.py", "from medssl.cli import main"),
        ("config.py", "if True:\n    from medssl.data.volume import Volume"),
        ("__init__.py", "from medssl import data"),
        ("stages/run.py", "import pipelines.quickstart"),
        ("cli.py", "from pipelines import quickstart"),
        ("helpers.py", "x = 1"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, text):
    good = tmp_path / "medssl/stages/good.py"
    path = tmp_path / "medssl" / file
    for each in (good, path):
        each.parent.mkdir(parents=True, exist_ok=True)
    good.write_text(
        "from medssl.data import store\nfrom ..training.loop import fit\nfrom . import other\n"
        "TABLE = {'a': 'medssl.methods.voco:VoCo'}\n'medssl.cli is only mentioned here'\n"
    )
    assert violations(tmp_path) == []
    path.write_text(text)
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    "module", ["medssl", "medssl.cli", "medssl.config", "medssl.data.index", "medssl.stages.doctor"]
)
def test_nothing_heavy_is_loaded(module):
    code = f"import sys, {module}; print(*sorted(set({sorted(HEAVY)}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
