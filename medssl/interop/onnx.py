"""For ONNX: a graph of the network, for images of one size and batches of any."""

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from medssl.errors import UserError, one_line
from medssl.interop.files import write_about, write_json
from medssl.interop.model import Model
from medssl.interop.torch import config

FILE = "model.onnx"
OPSET = 18
NEEDED = ("onnx", "onnxruntime", "onnxscript")
USAGE = """
import numpy as np
import onnxruntime

net = onnxruntime.InferenceSession("FOLDER/model.onnx")
levels = net.run(None, {"image": image.astype(np.float32)})  # (B, channels, *size), fine to coarse
"""


def admits(backbone: nn.Module) -> str:
    return ""


def write(model: Model, folder: Path) -> None:
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(
            "INSTALL", ", ".join(lacking), "not installed, so nothing could be written or checked",
            "pip install 'medssl[export]' (medssl doctor gives the whole command)",
        )  # fmt: skip
    net = model.backbone.eval()
    image = torch.randn(2, net.in_channels, *model.size)
    names = [f"level_{i}" for i in range(len(net.channels))]
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Whole(net), (image,), str(folder / FILE), input_names=["image"], output_names=names,
                opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            )  # fmt: skip
    except Exception as error:  # what of a network it cannot trace, it says in a way of its own
        raise UserError(
            "EXPORT", "to=onnx", f"torch cannot write this network ({one_line(error, 200)})",
            "to=torch or hub pass it on as it is",
        ) from error  # fmt: skip
    write_json(folder / "config.json", {**config(model), "image": list(model.size)})
    write_about(model, folder, USAGE)


def features(model: Model, folder: Path):
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(folder / FILE), full_check=True)
    session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])

    def levels(image):
        return [torch.from_numpy(x) for x in session.run(None, {"image": image.numpy()})]

    return levels


class _Whole(nn.Module):
    """The network without its mask."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, image):
        return tuple(self.net(image))


class _quiet:
    """Without what the exporter logs of its own steps."""

    def __enter__(self):
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_):
        logging.disable(self.level)
