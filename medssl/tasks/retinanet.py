"""MONAI's RetinaNet for `detection`: its heads on a pyramid of ours, and regions that teach nothing."""

from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import (
    RetinaNetClassificationHead,
    RetinaNetRegressionHead,
)
from torch import Tensor, nn

from medssl.backbones.pyramid import Pyramid


class Detector(RetinaNetDetector):
    """Anchors in the middle of a target's `ignored` regions (n, 2 d) are neither a box nor background."""

    def compute_anchor_matched_idxs(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]], num_anchor_locs_per_level
    ) -> list[Tensor]:
        found = super().compute_anchor_matched_idxs(anchors, targets, num_anchor_locs_per_level)
        d = self.spatial_dims
        for matched, boxes, target in zip(found, anchors, targets, strict=True):
            middle = (boxes[:, None, :d] + boxes[:, None, d:]) / 2
            regions = target["ignored"].to(middle)
            inside = ((regions[:, :d] < middle) & (middle < regions[:, d:])).all(2).any(1)
            matched[inside & (matched < 0)] = self.proposal_matcher.BETWEEN_THRESHOLDS
        return found

    def compute_cls_loss(
        self, cls_logits: Tensor, targets: list[dict[str, Tensor]], matched_idxs: list[Tensor]
    ) -> Tensor:
        # Of nothing but regions to be ignored there is no loss; MONAI's would be the mean of nothing.
        if all((m == self.proposal_matcher.BETWEEN_THRESHOLDS).all() for m in matched_idxs):
            return cls_logits.sum() * 0
        return super().compute_cls_loss(cls_logits, targets, matched_idxs)


class Network(nn.Module):
    """Image to logits and offsets of anchors at every level, as MONAI's detector wants them."""

    cls_key, box_reg_key = "classification", "box_regression"

    def __init__(self, backbone: nn.Module, pyramid: Pyramid, classes: int, anchors: int):
        super().__init__()
        self.shared = (backbone,)  # no module of this one: its weights belong to the task
        self.pyramid, self.spatial_dims = pyramid, backbone.ndim
        self.num_classes, self.num_anchors, self.size_divisible = classes, anchors, backbone.divisor
        width = pyramid.join.inner_blocks[0].out_channels
        self.classification = RetinaNetClassificationHead(width, anchors, classes, backbone.ndim)
        self.regression = RetinaNetRegressionHead(width, anchors, backbone.ndim)

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        maps = self.pyramid(self.shared[0](image), image.shape[2:])
        found = {self.cls_key: self.classification(maps), self.box_reg_key: self.regression(maps)}
        # MONAI gives anchors the type of these: in half precision they would be voxels off.
        return {name: [level.float() for level in levels] for name, levels in found.items()}
