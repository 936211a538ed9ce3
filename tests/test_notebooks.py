"""Every notebook runs from its first cell to its last, alone, on phantoms, without network."""

import json
import os
import re
import shutil

import nbformat
import pytest

from medssl.data.phantom import make
from notebooks.execute import HERE, execute, listed

# Sees what any library asks of Python's sockets; the kernel's own messages do not go through them.
OFFLINE = """
import sys


def _offline(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        raise RuntimeError(f"network: {event} {arguments}")


sys.addaudithook(_offline)
"""
SLOW = ("03", "04", "05", "06")
SHORT = ("03", "06")  # which a few steps of training make quick
MOST_LINES = 20  # that one cell prints


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(path, folder, scans=None, steps=0):
    """The outputs of its cells; `scans` as a user would set SCANS; trainings of so many steps, if any."""
    notebook = nbformat.read(path, 4)
    for cell in code(notebook) if steps else ():
        cell.source = re.sub(r'"(steps|every)": \d+', rf'"\1": {steps}', cell.source)
    if scans:
        setup = code(notebook)[0]
        setup.source = setup.source.replace("SCANS = None", f"SCANS = {str(scans)!r}")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    execute(notebook, folder)
    return [cell.outputs for cell in code(notebook)]


def pictures(outputs) -> int:
    return sum(
        "image/png" in output.get("data", {})
        or "<img" in output.get("data", {}).get("text/html", "")
        for outputs_of_cell in outputs
        for output in outputs_of_cell
    )


@pytest.mark.parametrize(
    "path, steps",
    [
        pytest.param(path, 0, marks=pytest.mark.slow if path.name[:2] in SLOW else (), id=path.stem)
        for path in listed()
    ]
    + [pytest.param(*listed(start), 4, id=f"{start}, 4 steps") for start in SHORT],
)
def test_runs_alone_and_shows_pictures(path, steps, tmp_path):
    outputs = run(path, tmp_path, steps=steps)
    assert pictures(outputs) >= 1
    for output in (o for of_cell in outputs for o in of_cell):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text  # red in Jupyter: warnings, say
    for of_cell in outputs:
        printed = "".join(o.get("text", "") for o in of_cell)
        assert printed.count("\n") <= MOST_LINES, printed
    shown = json.dumps(outputs)
    assert str(tmp_path) not in shown and os.path.expanduser("~") not in shown
    assert {p.name for p in tmp_path.iterdir()} == {"out"}  # nothing is written elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("start", ["01", "02", "03", "04", "06"])
def test_runs_on_a_folder_of_one_s_own(start, tmp_path):
    """NIfTI and masks, without a table: modality unknown, splits drawn."""
    made = make(tmp_path / "phantom", ct=0, mr=8, scans_per_patient=1) / "mr"
    scans = tmp_path / "my scans"
    for part in ("images", "labels"):
        shutil.copytree(made / part, scans / part)
    before = sorted(p.name for p in scans.rglob("*"))
    folder = tmp_path / "work"
    folder.mkdir()
    (path,) = listed(start)
    assert pictures(run(path, folder, scans)) >= 1
    assert sorted(p.name for p in scans.rglob("*")) == before
    assert [p.name for p in (folder / "out").iterdir()] == ["my scans"]


def test_there_is_one_for_every_stage_of_the_flow():
    names = [path.stem for path in listed()]
    assert [name[:2] for name in names] == [f"{i:02d}" for i in range(1, len(names) + 1)]
    assert len(names) >= 6


@pytest.mark.parametrize("path", listed(), ids=lambda path: path.stem)
def test_is_kept_without_outputs_and_says_what_it_takes(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    for cell in code(notebook):
        assert cell.outputs == [] and cell.execution_count is None
    first = notebook.cells[0].source
    assert first.startswith(f"# {int(path.name[:2])}. ")
    assert re.search("seconds|minute", first.split("\n\n")[1])
    sources = [cell.source for cell in code(notebook)]
    assert sources[0].count("SCANS = None") == 1 and "SCANS = " not in "".join(sources[1:])
    assert str(HERE.parent) not in path.read_text() and set(notebook.metadata) == {
        "kernelspec",
        "language_info",
    }
