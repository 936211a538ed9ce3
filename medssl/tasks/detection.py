"""Detection: boxes of classes in films and volumes, by RetinaNet (Lin et al., "Focal Loss for Dense Object
Detection", ICCV 2017) on the levels of any backbone.

MONAI's detection package gives the heads, the matching of anchors (ATSS, Zhang et al., CVPR 2020), the
sampling of hard negatives and the joining of windows; anchors are fitted to the training boxes.
"""

import math
import warnings
from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.augment.compose import Augment
from medssl.backbones.pyramid import Pyramid
from medssl.config import Count, Fraction, Share
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.evaluation.detection import Boxes, as_boxes, best_threshold, of_boxes
from medssl.tasks.anchors import fitted
from medssl.trainable import StepOutput

GROUPS = 8  # of the group norms in MONAI's heads
SEEN = 0.3  # share of a box that a crop must show for it to count
CANDIDATES = 300  # surest boxes of each level that are compared with each other
LEAST_IOU = {2: 0.5, 3: 0.1}  # from which on a box counts as found


class Detection(nn.Module):
    """RetinaNet on a backbone's levels. Works in 2D and 3D."""

    learns: ClassVar = "boxes"
    chance: ClassVar = 0.01  # average precision of boxes that hit by luck

    def __init__(
        self, backbone: nn.Module, augment: Augment, classes: dict[int, str],
        value_range: tuple[float, float], *,
        size: Annotated[list[Count], "voxels of a training crop and of the prediction window"],
        foreground: Annotated[Share, "share of crops placed around a box"] = 0.7,
        width: Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS), "channels of the pyramid and the "
                         "heads, a multiple of 8"] = 64,
        finest: Annotated[Count, "smallest stride of the pyramid, voxels"] = 8,
        anchors: Annotated[Count, "shapes of anchors at each level, fitted to the training boxes"] = 3,
        overlap: Annotated[Fraction, "of neighbouring prediction windows, 0..1"] = 0.25,
        apart: Annotated[Fraction, "of two boxes that overlap by more (IoU) the surer one is kept"] = 0.3,
        least: Annotated[Fraction, "scores under this are not told, 0..1"] = 0.05,
        most: Annotated[Count, "boxes that are told of one scan"] = 100,
    ):  # fmt: skip
        from medssl.tasks.retinanet import Network

        super().__init__()
        if augment.elastic:
            raise UserError(
                "CONFIG", "augment.elastic", "bends the image, and boxes cannot follow",
                "leave it out; rotate, scale, shift and flip are followed",
            )  # fmt: skip
        self.backbone, self.augment, self.value_range = backbone, augment, value_range
        self.classes = dict(sorted(classes.items()))
        self.labels = np.array([*self.classes])  # the class of every output channel
        self.size = tuple(size)
        self.overlap, self.least_iou = overlap, LEAST_IOU[backbone.ndim]
        self.crops = CropSpec(self.size, foreground=foreground)
        network = Network(backbone, Pyramid(backbone, width, finest), len(classes), anchors)
        self.heads = network
        levels = len(network.pyramid.strides)
        # Told before training by the boxes; an anchor of nothing would be none.
        self.register_buffer("anchors", torch.ones(levels, anchors, backbone.ndim))
        self.register_buffer("threshold", torch.full((), 0.5))  # of what is called, by validation
        self._selection = {
            "score_thresh": least, "nms_thresh": apart, "detections_per_img": most,
            "topk_candidates_per_level": CANDIDATES,
        }  # fmt: skip

    def learn_targets(self, targets: list[np.ndarray]) -> None:
        """Fit the anchors to the training boxes, each target (n, 2 d + 2) as `as_boxes` takes it."""
        boxes, d = np.concatenate([as_boxes(target).box for target in targets]), self.backbone.ndim
        if not len(boxes):
            raise UserError(
                "LABELS", "boxes", f"none of the {len(targets)} training scans has one",
                "check the boxes, the splits, or smallest=",
            )  # fmt: skip
        if boxes.shape[1] != 2 * d:
            raise UserError(
                "CONFIG", "arch", f"has {d} axes, the boxes have {boxes.shape[1] // 2}",
                f"take a backbone and a task.size of {boxes.shape[1] // 2} axes",
            )  # fmt: skip
        shapes = fitted(boxes[:, d:] - boxes[:, :d], *self.anchors.shape[:2])
        self.anchors.copy_(torch.from_numpy(shapes))

    def training_step(self, batch: dict, step: int) -> StepOutput:
        shape = tuple(batch["image"].shape[2:])
        drawn = self.augment.draw(batch["seed"], shape)
        image = drawn.image(batch["image"], self.value_range)
        d = self.backbone.ndim
        boxes, label, ignored = batch["target"].split([2 * d, 1, 1], -1)
        boxes = boxes - batch["low"].repeat(1, 2)[:, None]
        targets = []
        labels = torch.as_tensor(self.labels).to(label)
        moved = drawn.boxes(boxes, shape)
        for each, which, out in zip(moved, label[..., 0], ignored[..., 0], strict=True):
            shown, inside = _shown(each, shape)
            known = torch.isin(which, labels)
            kept = known & inside & (out == 0)
            targets.append({
                "boxes": shown[kept].reshape(-1, 2 * d),
                "labels": torch.bucketize(which[kept], labels),
                "ignored": shown[known & (out > 0)].reshape(-1, 2 * d),
            })  # fmt: skip
        try:
            with warnings.catch_warnings():
                # Once in a while no anchor suits what a crop shows of a box, which then teaches nothing.
                warnings.filterwarnings("ignore", "No anchor is matched")
                losses = self._detector().train()(self._padded(image), targets)
        except ValueError as error:
            if "NaN or Inf" not in str(error):
                raise
            return StepOutput(
                torch.full((), math.nan)
            )  # the loop says what it means, and what to do
        parts = {"classes": losses["classification"], "boxes": losses["box_regression"]}
        logs = {f"loss_{name}": float(loss.detach()) for name, loss in parts.items()}
        return StepOutput(sum(parts.values()), logs)

    def after_step(self, step: int) -> None:
        pass

    @property
    def figure(self) -> str:
        return f"AP at IoU {self.least_iou:g}"

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> Boxes:
        """Boxes of one prepared item (C, *space) in its voxels, surest first."""
        if image.ndim != self.backbone.ndim + 1:
            raise UserError(
                "SHAPE", "scan", f"has {image.ndim - 1} axes, the model {self.backbone.ndim}",
                "boxes in volumes need a model of volumes",
            )  # fmt: skip
        given = torch.from_numpy(image)[None].to(next(self.parameters()))
        windows = any(n > s for n, s in zip(given.shape[2:], self.size, strict=True))
        given = self._padded(given, self.size if windows else None)
        found = self._detector().eval()(given, use_inferer=windows)[0]
        found = {name: value.float().cpu().numpy() for name, value in found.items()}
        d = self.backbone.ndim
        box = np.clip(found["boxes"].reshape(-1, 2 * d), 0, np.tile(image.shape[1:], 2))
        there = (box[:, :d] < box[:, d:]).all(1)  # a box in what was padded is nowhere
        label = self.labels[found["labels"].astype(int)]
        return Boxes(box[there], label[there], found["labels_scores"][there])

    def validate(self, cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | None:
        """Average precision, mean of classes, of (prepared item, boxes (n, 2 d + 2)), at an IoU of 0.5 in
        2D, 0.1 in 3D; the score from which on a box is called is chosen by the best F1. None if they
        hold no box."""
        pairs = [(self.predict(image), as_boxes(target)) for image, target in cases]
        if not any(len(truth.box) for _, truth in pairs):
            return None
        found, truth = map(list, zip(*pairs, strict=True))
        best = best_threshold(found, truth, self.classes, self.least_iou)
        self.threshold.fill_(best)
        once = np.ones((1, len(found)))
        figures = of_boxes(found, truth, self.classes, once, self.least_iou)
        return float(figures[f"ap at IoU {self.least_iou:g}"][0])

    def _detector(self):
        """MONAI's detector around the network, with the anchors as they are now."""
        from monai.apps.detection.utils.anchor_utils import AnchorGenerator

        from medssl.tasks.retinanet import Detector

        d = self.backbone.ndim
        ratios = ((1.0,) * (d - 1),) if d == 3 else (1.0,)
        generator = AnchorGenerator(((1,),) * len(self.anchors), (ratios,) * len(self.anchors))
        generator.cell_anchors = [torch.cat([-a / 2, a / 2], 1) for a in self.anchors]
        detector = Detector(self.heads, generator)
        detector.set_atss_matcher(num_candidates=4, center_in_gt=False)
        detector.set_hard_negative_sampler(
            batch_size_per_image=64, positive_fraction=0.3, pool_size=20, min_neg=16
        )
        detector.set_box_selector_parameters(**self._selection)
        divisor = self.backbone.divisor
        window = [math.ceil(n / k) * k for n, k in zip(self.size, divisor, strict=True)]
        detector.set_sliding_window_inferer(
            window, overlap=self.overlap, mode="gaussian", sw_batch_size=1
        )
        return detector

    def _padded(self, image: Tensor, least: tuple[int, ...] | None = None) -> Tensor:
        """To multiples of what the backbone takes, and at least to `least`, behind each axis."""
        size, divisor = image.shape[2:], self.backbone.divisor
        wanted = [max(pair) for pair in zip(size, least or size, strict=True)]
        wanted = [math.ceil(n / d) * d for n, d in zip(wanted, divisor, strict=True)]
        pad = [p for n, w in zip(reversed(size), reversed(wanted), strict=True) for p in (0, w - n)]
        return nn.functional.pad(image, pad, value=float(image.amin())) if any(pad) else image


def _shown(boxes: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Boxes (n, 2 d) as far as a crop of `size` shows them, and whether it shows enough of each."""
    d = len(size)
    end = torch.tensor(size, dtype=boxes.dtype, device=boxes.device)
    shown = torch.minimum(boxes.clamp(min=0), end.repeat(2))
    whole, part = ((b[:, d:] - b[:, :d]).clamp(min=0).prod(1) for b in (boxes, shown))
    return shown, (part > 0) & (part >= SEEN * whole)
