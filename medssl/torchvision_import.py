"""Makes torchvision importable beside a build of torch that its binary does not fit.

A CPU build of torch next to the registry's torchvision stops at `import torchvision` with
"operator torchvision::nms does not exist", and timm and Lightning stop with it. Declaring the
operators' schemas is enough for everything that does not call them. Where torchvision's binary
loads, this does nothing; until torchvision is imported it costs nothing.
"""

import importlib.abc
import importlib.machinery
import sys

_kept_alive = []


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    done = False

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and not self.done:
            # Stays in sys.meta_path: leaving it during the search would skip the next finder.
            self.done = True
            spec = importlib.machinery.PathFinder.find_spec(name)
            if spec is not None and spec.submodule_search_locations:
                _declare_missing_operators(spec.submodule_search_locations[0])
        return None


def _declare_missing_operators(folder: str) -> None:
    from pathlib import Path

    import torch

    for binary in Path(folder).glob("_C*.so"):
        try:
            torch.ops.load_library(str(binary))
        except OSError:
            continue  # linked against another torch: the declarations below stand in
    schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(operator + schema)
            _kept_alive.append(library)


def install() -> None:
    """Arrange for the repair to happen before torchvision's first import; once is enough."""
    there = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not there:
        sys.meta_path.insert(0, _BeforeTorchvision())
