"""The built wheel, installed elsewhere, has all that the repository has."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("medssl-*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Runs Python with the installed wheel, far from the repository."""
    site = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True, capture_output=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.site, run.cwd = site, elsewhere
    return run


def test_wheel_holds_every_file_of_the_package(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder, into in (
        ("medssl", "medssl"),
        ("configs", "medssl/_shipped/configs"),
        ("pipelines", "medssl/_shipped/pipelines"),
    ):
        files = [
            p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        ]
        expected = {f"{into}/{p.relative_to(ROOT / folder).as_posix()}" for p in files}
        assert expected and expected <= held, sorted(expected - held)
    strangers = {n for n in held if not n.startswith(("medssl/", "medssl-")) or n.endswith(".pyc")}
    assert not strangers
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_presets_and_pipelines_are_found(python):
    code = (
        "import json, medssl; from medssl import shipped, yaml_file\n"
        "verb, names = next(iter(shipped.presets().items()))\n"
        "values = yaml_file.read_yaml(shipped.preset(verb, names[0]))\n"
        "paths = [shipped.preset(verb, names[0]), shipped.pipeline(shipped.pipelines()[0])]\n"
        "print(json.dumps([medssl.__file__, [str(p) for p in paths], values]))"
    )
    package, paths, values = json.loads(python("-c", code))
    assert Path(package).is_relative_to(python.site)
    assert all(Path(path).is_relative_to(python.site / "medssl/_shipped") for path in paths)
    assert values


def test_command_line_works(python):
    assert "pretrain" in python("-m", "medssl", "--help")
    listed = [line.split()[:2] for line in python("-m", "medssl", "presets").splitlines()]
    verb, name = next(row for row in listed if row[0] != "run")
    assert python("-m", "medssl", "copy", f"{verb}/{name}", "mine.yaml").strip() == "mine.yaml"
    assert (python.cwd / "mine.yaml").read_bytes() == (
        ROOT / f"configs/{verb}/{name}.yaml"
    ).read_bytes()


def test_doctor_knows_the_ranges_without_the_repository(python):
    out = python("-m", "medssl", "doctor")
    assert "needs !=2.9.*,>=2.8" in out and "dicom" in out
