"""What a whole scan may be asked: one class of several, labels, a grade, a number.

An answer turns targets into a code that mixes linearly (for mixup), logits into a loss and into scores,
and fits on validation cases how sure it may be (`calibration`). Logits of a case come as (instances,
outputs): one instance, or the slices of a volume, whose scores are averaged.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, smooth_l1_loss, softplus

from medssl.evaluation.classification import (
    nearly_constant,
    of_classes,
    of_labels,
    of_steps,
    once,
    plain,
)
from medssl.tasks.calibration import best_threshold, fit_temperature, surprise

GUESSED = 0.5  # AUROC of an answer that is the same for all, or drawn


class Classes(nn.Module):
    """One class of several: softmax, cross-entropy."""

    reads: ClassVar = "class"
    takes: ClassVar = ("balance", "smoothing")
    figure: str = "AUROC"  # that the last `fit` returned
    chance: float | None = None  # by that figure and on its cases: of no learning

    def __init__(self, names: list[str]):
        super().__init__()
        self.names, self.outputs = names, len(names)
        self.register_buffer("weights", torch.ones(self.outputs))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("threshold", torch.full((), 0.5))  # of the second of two classes

    def learn(self, targets: list, balanced: bool) -> None:
        """If `balanced`, weigh classes inversely to their counts; their mean weight is 1."""
        if not balanced:
            return
        counts = torch.bincount(torch.tensor(targets), minlength=self.outputs)
        inverse = 1 / counts.clamp(min=1)
        self.weights.copy_(inverse / inverse.mean())

    def encode(self, target: Tensor) -> Tensor:
        """int64 (B,) to shares (B, classes)."""
        return one_hot(target, self.outputs).float()

    def loss(self, logits: Tensor, shares: Tensor, smoothing: float) -> Tensor:
        return cross_entropy(logits, shares, self.weights, smoothing)

    def log(self, logits: Tensor, shares: Tensor) -> dict[str, float]:
        return {"accuracy": float((logits.argmax(1) == shares.argmax(1)).float().mean())}

    def scores(self, logits: Tensor) -> np.ndarray:
        """Probabilities (classes,)."""
        return (logits / self.temperature).softmax(-1).mean(0).cpu().numpy()

    def fit(self, logits: list[Tensor], targets: list) -> float | None:
        """Fit temperature and threshold; AUROC of these cases, or accuracy if all are of a class."""
        truth = np.array(targets)
        fit_temperature(self, logits, surprise(truth))
        p = np.stack([self.scores(each) for each in logits])
        self.threshold.fill_(best_threshold(p[:, 1], truth == 1) if self.outputs == 2 else 0.5)
        found = plain(of_classes(truth, p, once(len(p)), self.names))
        told = np.isfinite(found["auroc"])
        self.figure = "AUROC" if told else "accuracy"
        self.chance = GUESSED if told else None
        return found["auroc"] if told else found["accuracy"]

    def row(self, scores: np.ndarray) -> dict:
        """What a table says of a case."""
        k = int(scores[1] >= float(self.threshold)) if self.outputs == 2 else int(scores.argmax())
        return {"predicted": self.names[k], **_named("score_", self.names, scores)}

    def truth(self, target: int) -> dict:
        return {"truth": self.names[target]}

    def before(self, logits: Tensor) -> dict:
        """How sure of the surest class it was before its temperature."""
        return {"untempered": float(logits.softmax(-1).mean(0).max())}


class Labels(nn.Module):
    """Any of several labels: a probability each, binary cross-entropy; NaN marks what is not known."""

    reads: ClassVar = "labels"
    takes: ClassVar = ("balance", "smoothing")
    figure: str = "AUROC"  # that the last `fit` returned
    chance: float | None = None  # by that figure and on its cases: of no learning

    def __init__(self, names: list[str]):
        super().__init__()
        self.names, self.outputs = names, len(names)
        self.register_buffer("weights", torch.ones(self.outputs))  # of the positives
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("threshold", torch.full((self.outputs,), 0.5))

    def learn(self, targets: list, balanced: bool) -> None:
        """If `balanced`, let a label's positives weigh as much together as its negatives."""
        if not balanced:
            return
        known = np.array(targets)
        there, missing = (known == 1).sum(0), (known == 0).sum(0)
        self.weights.copy_(torch.from_numpy(np.maximum(missing, 1) / np.maximum(there, 1)))

    def encode(self, target: Tensor) -> Tensor:
        """float (B, labels) to (B, labels, 2): known, and there."""
        known = ~target.isnan()
        return torch.stack([known, target > 0.5], -1).float()

    def loss(self, logits: Tensor, code: Tensor, smoothing: float) -> Tensor:
        return yes_or_no(logits, code, smoothing, self.weights)

    def log(self, logits: Tensor, code: Tensor) -> dict[str, float]:
        known, there = code.unbind(-1)
        right = ((logits > 0) == (there > 0.5)) * known
        return {"accuracy": float(right.sum() / known.sum().clamp(min=1))}

    def scores(self, logits: Tensor) -> np.ndarray:
        """Probabilities (labels,), each on its own."""
        return (logits / self.temperature).sigmoid().mean(0).cpu().numpy()

    def fit(self, logits: list[Tensor], targets: list) -> float | None:
        """Fit one temperature, and a threshold for each label; the mean AUROC of these cases."""
        truth = np.stack(targets)
        known = ~np.isnan(truth)

        def cost(p: np.ndarray) -> float:
            return -np.log(np.where(truth > 0.5, p, 1 - p)[known]).mean()

        fit_temperature(self, logits, cost)
        p = np.stack([self.scores(each) for each in logits])
        for k in range(self.outputs):
            some = known[:, k]
            self.threshold[k] = best_threshold(p[some, k], truth[some, k] > 0.5)
        found = plain(of_labels(truth, p, once(len(p)), self.names))["auroc"]
        self.chance = GUESSED
        return found if np.isfinite(found) else None

    def row(self, scores: np.ndarray) -> dict:
        called = scores >= self.threshold.cpu().numpy()
        named = " + ".join(n for n, there in zip(self.names, called, strict=True) if there)
        return {"predicted": named, **_named("score_", self.names, scores)}

    def truth(self, target: np.ndarray) -> dict:
        return _named("truth_", self.names, target)


class Grades(nn.Module):
    """One of several grades in order: the chance to lie above each, given that the one before is passed.

    Shi, Cao, Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On
    Conditional Probabilities" (CORN), Pattern Analysis and Applications 2023.
    """

    reads: ClassVar = "grades"
    takes: ClassVar = ("smoothing",)
    figure: str = "quadratic kappa"  # that the last `fit` returned
    chance: float | None = None  # by that figure and on its cases: of no learning

    def __init__(self, names: list[str]):
        super().__init__()
        self.names, self.outputs = names, len(names) - 1
        self.register_buffer("temperature", torch.ones(()))

    def learn(self, targets: list, balanced: bool) -> None:
        pass  # steps are weighed by the cases that reach them

    def encode(self, target: Tensor) -> Tensor:
        """int64 (B,) to (B, steps, 2): the step is reached, and passed."""
        steps = torch.arange(self.outputs, device=target.device)
        return torch.stack([target[:, None] >= steps, target[:, None] > steps], -1).float()

    def loss(self, logits: Tensor, code: Tensor, smoothing: float) -> Tensor:
        return yes_or_no(logits, code, smoothing)

    def log(self, logits: Tensor, code: Tensor) -> dict[str, float]:
        found, wanted = (logits > 0).cumprod(1).sum(1), (code[..., 1] > 0.5).sum(1)
        return {"error in steps": float((found - wanted).abs().float().mean())}

    def scores(self, logits: Tensor) -> np.ndarray:
        """Probabilities (grades,)."""
        above = (logits / self.temperature).sigmoid().cumprod(-1)
        ends = torch.ones_like(above[..., :1]), torch.zeros_like(above[..., :1])
        p = torch.cat([ends[0], above], -1) - torch.cat([above, ends[1]], -1)
        return p.mean(0).cpu().numpy()

    def fit(self, logits: list[Tensor], targets: list) -> float | None:
        """Fit the temperature; kappa with quadratic weights of these cases."""
        truth = np.array(targets)
        fit_temperature(self, logits, surprise(truth))
        grades = np.array([self._grade(self.scores(each)) for each in logits])
        found = plain(of_steps(truth, grades, once(len(truth))))
        kappa = found["quadratic_kappa"]
        told = np.isfinite(kappa)
        self.figure = "quadratic kappa" if told else "minus error in steps"
        self.chance = 0.0 if told else None  # of a grade that is the same for all
        return kappa if told else -found["error in steps"]

    def row(self, scores: np.ndarray) -> dict:
        k = self._grade(scores)
        told = {"predicted": self.names[k], "predicted_step": k}
        return told | _named("score_", self.names, scores)

    def truth(self, target: int) -> dict:
        return {"truth": self.names[target], "truth_step": target}

    @staticmethod
    def _grade(scores: np.ndarray) -> int:
        """The median grade, which errs by the fewest steps."""
        return int(min((scores.cumsum() < 0.5).sum(), len(scores) - 1))


class Number(nn.Module):
    """A measured number: regression in units of the training scans' spread, Huber loss."""

    reads: ClassVar = "number"
    takes: ClassVar = ()
    figure: str = "minus mean absolute error"  # that the last `fit` returned
    chance: float | None = None  # by that figure and on its cases: of no learning

    def __init__(self, names: list[str]):
        super().__init__()
        self.names, self.outputs = names, 1
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def learn(self, targets: list, balanced: bool) -> None:
        """Take mean and spread from the training scans."""
        self.mean.fill_(float(np.mean(targets)))
        self.spread.fill_(max(float(np.std(targets)), 1e-6))

    def encode(self, target: Tensor) -> Tensor:
        return ((target - self.mean) / self.spread).float()[:, None]

    def loss(self, logits: Tensor, code: Tensor, smoothing: float) -> Tensor:
        return smooth_l1_loss(logits, code)

    def log(self, logits: Tensor, code: Tensor) -> dict[str, float]:
        return {"error": float((logits.detach() - code).abs().mean() * self.spread)}

    def scores(self, logits: Tensor) -> np.ndarray:
        """The number (1,), in its own unit."""
        return (logits * self.spread + self.mean).mean(0).cpu().numpy()

    def fit(self, logits: list[Tensor], targets: list) -> float | None:
        """Minus the mean absolute error of these cases; nothing is fitted."""
        truth, found = np.array(targets), np.array([self.scores(each)[0] for each in logits])
        score = -float(np.abs(found - truth).mean())
        self.chance = -float(np.abs(float(self.mean) - truth).mean())
        if nearly_constant(truth, found):  # another number for all may suit these cases better
            self.chance = max(self.chance, score)
        return score

    def row(self, scores: np.ndarray) -> dict:
        return {"predicted": float(scores[0])}

    def truth(self, target: float) -> dict:
        return {"truth": float(target), "usual": float(self.mean)}


def cross_entropy(logits: Tensor, shares: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Mean by class weights, for logits and shares of classes (B, classes). Of whole shares it is
    that of torch with the same weights and smoothing."""
    smooth = (1 - smoothing) * shares + smoothing / shares.shape[1]
    return -(weights * smooth * logits.log_softmax(1)).sum() / (weights * shares).sum()


def yes_or_no(
    logits: Tensor, code: Tensor, smoothing: float, weight: Tensor | float = 1.0
) -> Tensor:
    """Binary cross-entropy, the mean over what was asked, for code (..., 2): asked, and true; `weight` is of
    what is true."""
    asked, true = code.unbind(-1)
    true = true * (1 - smoothing) + asked * smoothing / 2
    each = true * weight * softplus(-logits) + (asked - true) * softplus(logits)
    return each.sum() / asked.sum().clamp(min=1)


def _named(prefix: str, names: list[str], values: np.ndarray) -> dict[str, float]:
    return {prefix + n: round(float(v), 6) for n, v in zip(names, values, strict=True)}
