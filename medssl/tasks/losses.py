"""What a segmentation's logits may cost, by MONAI's losses.

Background is left out of the overlap. Overlaps are of the whole batch: a class absent from one crop is
no error of that crop.
"""

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

Loss = Literal["dice_ce", "dice_focal", "tversky_ce"]
MEANING = (
    "Dice and cross-entropy; dice_focal: easy voxels count little (gamma 2); tversky_ce: a missed "
    "voxel costs more than a false one (0.7 to 0.3), for small structures"
)
MISSED, FALSE = 0.7, 0.3
SMOOTH = {"smooth_nr": 1e-5, "smooth_dr": 1e-5}


def segmentation_loss(name: Loss, soft: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Logits (B, classes, *space) and target to a loss: class numbers int64 (B, 1, *space), or shares of
    classes float (B, classes, *space) if `soft`."""
    from monai.losses import DiceCELoss, DiceLoss, FocalLoss, TverskyLoss

    of_batch = {"softmax": True, "include_background": False, "batch": True, **SMOOTH}
    hard = not soft
    if name == "dice_ce":
        return DiceCELoss(to_onehot_y=hard, **of_batch)
    if name not in get_args(Loss):
        raise ValueError(f"loss {name!r} is none of {get_args(Loss)}")
    if name == "dice_focal":
        # DiceFocalLoss takes the background out before its softmax: one class would then always be sure.
        overlap = DiceLoss(to_onehot_y=hard, **of_batch)
        voxels = FocalLoss(to_onehot_y=hard, use_softmax=True, gamma=2.0)
    else:
        overlap = TverskyLoss(to_onehot_y=hard, alpha=FALSE, beta=MISSED, **of_batch)
        voxels = DiceCELoss(to_onehot_y=hard, lambda_dice=0.0, **of_batch)
    return lambda logits, target: overlap(logits, target) + voxels(logits, target)
