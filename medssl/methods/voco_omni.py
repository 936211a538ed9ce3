"""VoCo, omni-supervised: overlap on every scan, segmentation on labelled ones, pseudo labels on the rest.

Wu, Zhuang, Chen, "Large-Scale 3D Medical Image Pre-training with Geometric Context Priors", TPAMI.
The loss is the sum of VoCo's (on all scans), Dice and cross-entropy through the encoder and a decoder
(on random crops of labelled scans), and from step `pseudo_from` on the same against the labels that a
frozen copy of the model of that step gives (on random crops of unlabelled scans).

As published the decoder sees detached features of unlabelled crops, so that wrong pseudo labels do
not reach the encoder; `detach=false` lets them. Published code makes the copy when a counter that
starts again on resume meets one number; here it is part of the state from the start and taken after
the step before `pseudo_from`, and only the step's own number decides. Crops that are segmented vary
in intensity alone, so that masks stay where they are; the copy sees crops that do not vary at all.
With several ranks, one that has no labelled scan in its share passes a crop that does not count, so that
all take part; a batch norm sees it, and there the result is not that of one process.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from medssl.backbones.decoder import UNetDecoder
from medssl.config import Count, Fraction, Share
from medssl.data.crops import UNKNOWN, CropSpec
from medssl.errors import UserError
from medssl.methods.parts.overlap import cut, random_starts
from medssl.methods.parts.teacher import teacher_of
from medssl.methods.parts.views import view_seeds
from medssl.methods.voco import VoCo
from medssl.ranks import anywhere, total, world
from medssl.trainable import StepOutput

SMOOTH = 1e-5  # of Dice: 1 where neither truth nor answer has a class


class VoCoOmni(VoCo):
    """`decoder` learns with the backbone, and may be handed over to fine-tuning."""

    later: ClassVar = (
        "pseudo_from"  # the option that names the step from which on a step costs more
    )

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a base cell and of a random crop"],
        classes: Annotated[Count, "labels of the masks besides 0"] = 1,
        grid: Annotated[list[Count] | None, "cells along each axis; none: 2 x 2 (x 1)"] = None,
        pseudo_from: Annotated[int, Field(ge=0), "first step with pseudo labels; 0: never"] = 0,
        confidence: Annotated[Share, "least probability of a pseudo label that counts, 0..1"] = 0.0,
        detach: Annotated[bool, "pseudo labels train the decoder alone"] = True,
        decoder_width: Annotated[Count, "channels of the decoder at full resolution"] = 8,
        crops_per_scan: Annotated[Count, "random crops of each scan"] = 2,
        whole: Annotated[bool, "resize the whole scan to the grid, instead of cropping it"] = True,
        loss: Annotated[Literal["released", "paper", "v2"], "form of VoCo's losses"] = "v2",
        activation: Annotated[Literal["relu", "leaky", "none"], "applied to cosines"] = "leaky",
        teacher: Annotated[Literal["network", "projector", "none"], "what has a momentum copy"] = "projector",
        momentum: Annotated[Share, "of the teacher, 0..1"] = 0.9,
        width: Annotated[Count, "channels of the projector"] = 512,
        dropout: Annotated[Fraction, "share of the student's features left out, 0..1"] = 0.0,
        inter: Annotated[float, Field(ge=0), "weight of the term between two scans of a batch"] = 1.0,
        regulariser: Annotated[float, Field(ge=0), "weight of the term that pushes cells apart"] = 1.0,
    ):  # fmt: skip
        super().__init__(
            backbone, augment, size=size, grid=grid, crops_per_scan=crops_per_scan, whole=whole,
            loss=loss, activation=activation, teacher=teacher, momentum=momentum, width=width,
            dropout=dropout, inter=inter, regulariser=regulariser,
        )  # fmt: skip
        self.crops = CropSpec(self.extent, whole=whole, mask=True)
        self.classes, self.pseudo_from, self.confidence = classes, pseudo_from, confidence
        self.detach = detach
        self.decoder = UNetDecoder(backbone, 1 + classes, decoder_width)
        self.labeller = teacher_of(self._segmenter()) if pseudo_from else None

    def training_step(self, batch: dict, step: int) -> StepOutput:
        """VoCo's step with `mask` int64 (B, *extent) in the batch, -1 throughout where unlabelled.

        Raises UserError for any other value outside 0..classes.
        """
        out = super().training_step(batch, step)
        labelled = has_labels(batch["mask"], self.classes)
        terms = {"ssl": out.loss}
        if anywhere(bool(labelled.any())):
            _, crops, mask = self._crops(batch, some(labelled))
            terms["segmentation"] = dice_ce(self._segmented(self._segmenter(), crops), mask)
        if self.pseudo_from and step >= self.pseudo_from and anywhere(not labelled.all()):
            plain, crops, _ = self._crops(batch, some(~labelled))
            labels = self._pseudo_labels(plain)
            terms["pseudo"] = dice_ce(
                self._segmented(self._segmenter(), crops, self.detach),
                torch.full_like(labels, UNKNOWN) if labelled.all() else labels,
            )
        logs = {name: float(term.detach()) for name, term in terms.items()}
        logs["labelled"] = float(labelled.float().mean())
        return StepOutput(sum(terms.values()), out.logs | logs)

    def after_step(self, step: int) -> None:
        super().after_step(step)
        if self.pseudo_from and step + 1 == self.pseudo_from:
            self.labeller.load_state_dict(self._segmenter().state_dict())

    def _segmenter(self) -> nn.ModuleList:
        return nn.ModuleList([self.backbone, self.decoder])

    def _segmented(self, segmenter: nn.ModuleList, crops: Tensor, detach: bool = False) -> Tensor:
        """Logits (M, 1 + classes, *size) of crops (M, C, *size)."""
        backbone, decoder = segmenter
        with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
            features = backbone(crops)
        return decoder(features, crops).float()

    @torch.no_grad()
    def _pseudo_labels(self, crops: Tensor) -> Tensor:
        """What the frozen copy sees in crops (M, *size); -1 where it is not confident enough."""
        self.labeller.eval()  # the training loop puts every module into training mode
        share, label = self._segmented(self.labeller, crops).softmax(1).max(1)
        return torch.where(share >= self.confidence, label, UNKNOWN)

    def _crops(self, batch: dict, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The random crops (M, C, *size) of some scans as read and as varied, and their masks."""
        image, mask, seeds = (batch[name][which] for name in ("image", "mask", "seed"))
        starts = random_starts(seeds, self.crops_per_scan, self.extent, self.size)
        plain = cut(image, starts, self.size)
        each = view_seeds(seeds, self.crops_per_scan).T.flatten()
        crops = self.augment(plain, each, spatial=False)
        return plain, crops, cut(mask[:, None], starts, self.size)[:, 0]

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """VoCo's, and a crop of each of a few scans with its mask, if it has one, and the answer."""
        labelled = has_labels(batch["mask"], self.classes)
        plain, _, mask = self._crops(batch, torch.ones_like(labelled))
        first = slice(0, 4 * self.crops_per_scan, self.crops_per_scan)
        plain, mask = plain[first], mask[first]
        answers = self._segmented(self._segmenter(), plain).argmax(1)
        images, captions = [], []
        for crop, truth, answer in zip(plain[:, 0], mask, answers, strict=True):
            shown = {"scan": crop, "mask": truth, "answer": answer}
            if truth.amin() < 0:
                del shown["mask"]
            images += [each.float().cpu().numpy() for each in shown.values()]
            captions += list(shown)
        gallery = {"kind": "gallery", "images": images, "captions": captions}
        return [*super().pictures(batch, step), gallery]


def has_labels(mask: Tensor, classes: int) -> Tensor:
    """Bool (B,): which masks (B, *size) are labels; the others are -1 throughout.

    Raises UserError naming a value that is neither.
    """
    each = mask.flatten(1)
    low, high = each.amin(1), each.amax(1)
    if int(high.max()) > classes:
        raise UserError(
            "CONFIG", "method.classes", f"a mask holds the label {int(high.max())}, expected "
            f"0..{classes}", f"use method.classes={int(high.max())} or more",
        )  # fmt: skip
    labelled = low >= 0
    wrong = ~labelled & ((low < UNKNOWN) | (high > UNKNOWN))
    if wrong.any():
        raise UserError(
            "LABELS", "mask", f"holds the value {int(low[wrong].min())} beside others, expected "
            f"0..{classes}", "give every voxel of a labelled scan a label of 0 or more",
        )  # fmt: skip
    return labelled


def some(which: Tensor) -> Tensor:
    """`which` (B,), or the first alone where a rank has none: it must take part in what the others sum,
    with voxels that do not count."""
    if world() > 1 and not which.any():
        which = torch.arange(len(which), device=which.device) == 0
    return which


def dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice (mean over classes besides 0, sums over the batch of all ranks) plus mean cross-entropy.

    logits (M, classes, *size); labels int64 (M, *size), -1 where a voxel does not count.
    """
    counted = (labels >= 0)[:, None]
    logits = logits.float()
    truth = one_hot(labels.clamp(min=0), logits.shape[1]).movedim(-1, 1).float() * counted
    found = logits.softmax(1) * counted
    axes = [0, *range(2, logits.ndim)]
    common, both = total((found * truth).sum(axes))[1:], total((found + truth).sum(axes))[1:]
    dice = (1 - (2 * common + SMOOTH) / (both + SMOOTH)).mean()
    entropy = cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
    return dice + total(entropy) / total(counted.sum()).clamp(min=1)
