"""Features of a frozen network as signature; the distance is one minus their cosine."""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from medssl.backbones.base import pool
from medssl.config import Count
from medssl.curation.selection import Rows
from medssl.data.preprocess import resize


def fingerprint_of(network: nn.Module) -> str:
    """32 hex digits of all weights, whatever file they came from."""
    import xxhash

    digest = xxhash.xxh3_128()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


class Embedding:
    """The last level of `network`, averaged over places, of images resized to `size`.

    `network` is given by who builds the signature: a checkpoint's backbone, or any other.
    """

    threshold, most, unit = 0.05, 2.0, "1 - cosine"

    def __init__(
        self, *, size: Annotated[list[Count], "pixels of an image; none: as the model was trained"] = (),
        batch: Annotated[Count, "images of one forward pass"] = 32,
    ):  # fmt: skip
        self.size, self.batch = tuple(size), batch
        self.network: nn.Module | None = None

    @torch.inference_mode()
    def of(self, images: Tensor, value_range: tuple[float, float]) -> np.ndarray:
        """float32 (N, D) of length one; 0 where the network is silent."""
        device = next(self.network.parameters()).device
        found = []
        for some in images.split(self.batch):
            resized = np.stack([resize(image, self.size, smooth=True) for image in some.numpy()])
            levels = self.network.eval()(torch.from_numpy(resized).to(device))
            found.append(pool(levels[-1:]).float().cpu())
        features = torch.cat(found)
        return nn.functional.normalize(features, dim=1).numpy()

    def rows(self, array: np.ndarray) -> Rows:
        return lambda i, others: np.maximum(1 - array[others] @ array[i], 0)
