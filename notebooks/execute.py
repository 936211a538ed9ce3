"""Execute the notebooks and keep them with their outputs: python -m notebooks.execute build/notebooks

They are run in their order and in one folder, so that later ones find what earlier ones have made;
each also stands alone: python -m notebooks.execute build/notebooks 04
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def listed(start: str = "") -> list[Path]:
    return sorted(HERE.glob(f"{start}*.ipynb"))


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run its cells in `folder` by a kernel of this interpreter, with the medssl that lies here."""
    above = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where)
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(above)})
    return notebook


def main(out: str, *starts: str) -> None:
    folder = Path(out) / "run"
    folder.mkdir(parents=True, exist_ok=True)
    for path in [path for start in starts or ("",) for path in listed(start)]:
        began = time.monotonic()
        notebook = execute(nbformat.read(path, 4), folder)
        nbformat.write(notebook, Path(out) / path.name)
        print(f"{Path(out) / path.name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
