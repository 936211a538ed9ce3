"""What users see in a notebook's kernel: bars in one line, errors in one line, figures as pictures."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
CELLS = [
    """import sys; sys.path.insert(0, {root!r})
from medssl import progress
progress.QUIET_SECONDS = 0
for _ in progress.track(range(3), "work", unit="scans"):
    import time; time.sleep(0.25)
progress.say("a remark")""",
    """from medssl.errors import UserError
raise UserError("CODE", "here", "a cause", "a way out")""",
    """from medssl.reports.charts import loss_curve
loss_curve([{{"step": 1, "loss": 2.0}}, {{"step": 2, "loss": 1.0}}], ["loss"])""",
]


@pytest.fixture(scope="module")
def outputs():
    cells = [nbformat.v4.new_code_cell(cell.format(root=str(ROOT))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, allow_errors=True, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def test_progress_is_one_line_and_remarks_are_no_errors(outputs):
    bar, remark = outputs[0]
    assert bar.data["text/plain"].startswith("work: 3 scans in ")  # the last of what stood there
    assert (remark.name, remark.text) == ("stdout", "a remark\n")


def test_errors_for_users_are_one_line(outputs):
    (error,) = outputs[1]
    assert error.traceback == ["CODE here: a cause. Fix: a way out"]


def test_figures_are_pictures(outputs):
    (figure,) = outputs[2]
    assert figure.data["image/png"] and 100 < figure.metadata["image/png"]["width"] < 700
