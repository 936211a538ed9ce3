"""A linear map along each axis, of its own for each sample: blur, resolution and smooth fields.

As one batch of matrix products an axis it beats grouped convolutions two to three times on a CPU for
crops of 96 voxels, costs the same for every width, and treats borders exactly.
"""

from torch import Tensor


def along(image: Tensor, matrices: list[Tensor]) -> Tensor:
    """(B, K, *m) to (B, K, *n) by matrices (B or 1, n, m), one an axis.

    Each step takes the last axis and puts it in front, so that none is ever moved in memory.
    """
    for matrix in reversed(matrices):
        lead, rest = image.shape[:2], image.shape[2:-1]
        matrix = matrix.to(image.device, image.dtype)
        image = matrix[:, None] @ image.flatten(2, -2).mT
        image = image.reshape(*lead, matrix.shape[1], *rest)
    return image
