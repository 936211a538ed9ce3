"""What is known of a store's scans, in the form in which a head learns it: masks, answers or boxes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from medssl.data.located import parts
from medssl.data.paths import listed
from medssl.data.store import Store
from medssl.data.targets import (
    answers,
    in_columns,
    in_masks,
    mask_classes,
    mask_remarks,
    mask_values,
    nameless,
    read_targets,
    with_masks,
    with_target,
)
from medssl.errors import UserError

SHOWN = 5  # ids, or classes, in a remark
MANY = 20  # classes, of which more are not all named in a line


@dataclass
class Truths:
    """What a user says of the labels, the same for all kinds.

    store    of the scans
    columns  label columns, of `Answers`
    reads    how they are read (`targets.answers`)
    names    classes by number, where given
    others   mask values without a name are background
    expected that there are such values, or boxes, was said by the user, and needs no remark
    of_masks boxes are the parts of label masks
    smallest parts of fewer voxels are left out
    """

    store: Store
    columns: list[str] = field(default_factory=list)
    reads: str = ""
    names: dict[int, str] = field(default_factory=dict)
    others: bool = False
    expected: bool = False
    of_masks: bool = False
    smallest: int = 1

    word: ClassVar[str] = "class"  # for what is told apart, and for several
    words: ClassVar[str] = "classes"
    stratify: ClassVar[str] = ""  # column whose values few labels should all show
    targets: dict[str, object] | None = field(
        default=None, init=False
    )  # by item, None where a mask is read with each crop

    def labelled(self) -> pd.DataFrame:
        """The items of which something is known. Raises UserError LABELS if there is none."""
        raise NotImplementedError

    def classes(self, train: pd.DataFrame) -> dict[int, str]:
        """What is to be told apart, from training items. Raises UserError."""
        raise NotImplementedError

    def told(self, classes: dict[int, str], train: pd.DataFrame) -> str:
        """What is to be told apart, in a line, and how to ask for less where nobody has named any of many."""
        values = [str(k) for k, name in classes.items() if name == nameless(k)]
        names = values if len(values) == len(classes) else list(classes.values())
        counted = f"{len(names)} {self.word if len(names) == 1 else self.words}"
        if len(names) <= MANY:
            return f"{counted}: {', '.join(names)}"
        line = f"{counted}: {', '.join(names[:SHOWN])}, ..., {names[-1]}"
        if not values:
            return line
        asked = f"classes='{{{values[0]}: NAME, {values[1]}: NAME}}' others=true"
        return f"{line}: all that the masks hold; name some with {asked}"

    def read(self, classes: dict[int, str]) -> None:
        """Fill `targets` of all items of which something is known. Raises UserError LABELS."""

    def remarks(self, items: pd.DataFrame, classes: dict[int, str], strict: bool) -> list[str]:
        """What is odd about labels, in words; `strict` raises UserError for it where classes are given."""
        return []

    def holding(self, items: pd.DataFrame) -> Counter:
        """On how many of the items each class is, by its name, be it asked for or not."""
        return Counter()

    @property
    def asked(self) -> list[str]:
        """Classes that the user has named, be there any or not."""
        return list(self.names.values())

    def gaps(self, train: pd.DataFrame, validation: pd.DataFrame) -> list[str]:
        """What is to be said, in words, of classes that no training item holds."""
        learnt, chosen = self.holding(train), self.holding(validation)
        missed = {name: n for name, n in sorted(chosen.items()) if n and not learnt[name]}
        words = [
            f"{n} of {len(validation)} validation scans hold {name}, which no training scan does: it is not "
            "learnt. Put some of them into training (splits=, labelled=), or take it out of the labels"
            for name, n in missed.items()
        ]
        return words + [
            f"{name} is asked for, and no scan to learn from holds it: it is not learnt. Check how it is "
            "written, or put scans with it into training"
            for name in self.asked
            if not learnt[name] and name not in missed
        ]

    def for_crops(self) -> dict[str, object] | None:
        """The targets as samples carry them."""
        return self.targets

    def points(self) -> dict[str, np.ndarray] | None:
        """Voxels of each class around which crops may lie; None: those that the store keeps of masks."""
        return None

    def held_out(self, items: pd.DataFrame) -> Iterator[tuple]:
        """(prepared scan, what is true of it) of each item that has one."""
        for item in items.index:
            if item in self.targets:
                yield self.store.read(item), self.targets[item]


class Masks(Truths):
    """A label for every voxel."""

    def labelled(self) -> pd.DataFrame:
        return with_masks(self.store)

    def classes(self, train: pd.DataFrame) -> dict[int, str]:
        return mask_classes(self.store, train, self.names, self.others)

    def told(self, classes: dict[int, str], train: pd.DataFrame) -> str:
        line = super().told(classes, train)
        left = [str(k) for k in mask_values(self.store, train) if k not in classes]
        if not left:
            return line
        shown = ", ".join(left[:SHOWN]) + ", ..." * (len(left) > SHOWN)
        many = "s" * (len(left) > 1), "s" * (len(train) > 1)
        left_out = f"{len(left)} other value{many[0]} of {len(train)} mask{many[1]}, {shown}"
        how = "recode= of medssl index makes one class of several"
        return f"{line}; taken as background: {left_out} ({how})"

    def holding(self, items: pd.DataFrame) -> Counter:
        return in_masks(self.store, items, self.names, self.others)

    def remarks(self, items: pd.DataFrame, classes: dict[int, str], strict: bool) -> list[str]:
        strict = strict and bool(self.names) and not self.others
        return mask_remarks(self.store, items, classes, strict, self.expected)

    def held_out(self, items: pd.DataFrame) -> Iterator[tuple]:
        for item in items.index:
            yield self.store.read(item), self.store.read_mask(item)[0]


class Answers(Truths):
    """A class, labels, a grade or a number of the whole scan."""

    @property
    def word(self) -> str:
        return "class" if self.reads == "class" else self.reads.removesuffix("s")

    @property
    def words(self) -> str:
        return "classes" if self.reads == "class" else self.reads

    @property
    def stratify(self) -> str:
        return self.columns[0] if self.columns and self.reads in ("class", "grades") else ""

    def labelled(self) -> pd.DataFrame:
        return with_target(self.store, *self.columns)

    def classes(self, train: pd.DataFrame) -> dict[int, str]:
        return answers(self.reads, train, self.columns, self.names)

    def holding(self, items: pd.DataFrame) -> Counter:
        return in_columns(self.reads, items, self.columns)

    @property
    def asked(self) -> list[str]:
        labels = [c.removeprefix("label_") for c in self.columns if self.reads == "labels"]
        return labels or super().asked

    def read(self, classes: dict[int, str]) -> None:
        self.targets = read_targets(self.reads, self.store.items, self.columns, classes)


class BoxLists(Truths):
    """Boxes of classes; a target is float32 (n, 2 d + 2): prepared voxels, the class, and 1 for a region
    that is to be ignored, 0 for a box."""

    def labelled(self) -> pd.DataFrame:
        if self.of_masks:
            return with_masks(self.store)
        items = self.store.items
        known = items[items["boxes"] != ""] if "boxes" in items else items.iloc[:0]
        if known.empty:
            raise UserError(
                "LABELS", self.store.folder, f"none of its {len(items)} scans has boxes",
                "give labels=boxes.json (COCO) or boxes.csv to `medssl index` and prepare again, or take "
                "the parts of label masks with boxes_of_masks=true",
            )  # fmt: skip
        return known

    def classes(self, train: pd.DataFrame) -> dict[int, str]:
        if self.of_masks:
            return mask_classes(self.store, train, self.names, self.others)
        there = sorted({name for i in train.index for name in self._names(i)})
        if not there:
            raise UserError(
                "LABELS", self.store.folder, "no training scan has a box",
                "check the boxes, or the splits",
            )  # fmt: skip
        classes = self.names or dict(enumerate(there, 1))
        strange = sorted(set(there) - set(classes.values()))
        if strange and not self.others:
            raise UserError(
                "LABELS", "classes", f"boxes are of {strange}, which classes= does not name",
                "name every class, e.g. classes='{1: nodule, 2: mass}', or leave others out with "
                "others=true",
            )  # fmt: skip
        return classes

    def holding(self, items: pd.DataFrame) -> Counter:
        if self.of_masks:
            return in_masks(self.store, items, self.names, self.others)
        asked = set(self.names.values()) if self.others else None
        found = (set(self._names(i)) for i in items.index)
        return Counter(name for names in found for name in (names & asked if asked else names))

    def read(self, classes: dict[int, str]) -> None:
        self.targets, self._left, self._twice = {}, {}, {}
        number = {name: k for k, name in classes.items()}
        for item in self.labelled().index:
            if self.of_masks:
                mask = self.store.read_mask(item)[0]
                boxes, labels, left = parts(mask, classes, self.smallest)
                self._left[item] = {f"parts under {self.smallest} voxels": left}
                ignored = np.zeros(len(boxes), bool)
            else:
                boxes, names, ignored = self.store.boxes(item)
                kept = [i for i, name in enumerate(names) if name in number]
                others = Counter(name for name in self._names(item) if name not in number)
                left = {} if self.expected else others
                self._left[item] = {f"boxes of {name}": n for name, n in left.items()}
                boxes, ignored = boxes[kept], ignored[kept]
                labels = np.array([number[names[i]] for i in kept])
            rows = np.column_stack([boxes, labels, ignored])
            _, first = np.unique(rows, axis=0, return_index=True)
            self._twice[item] = len(rows) - len(first)
            self.targets[item] = rows[np.sort(first)].astype(np.float32)

    def _names(self, item: str) -> list[str]:
        """What is in each box of an item; regions that are to be ignored are none."""
        _, names, ignored = self.store.boxes(item)
        return [name for name, out in zip(names, ignored, strict=True) if not out]

    def for_crops(self) -> dict[str, np.ndarray]:
        """Targets of equal length, filled with NaN, as batches need them."""
        most = max(len(t) for t in self.targets.values())
        return {
            item: np.pad(t, [(0, most - len(t)), (0, 0)], constant_values=np.nan)
            for item, t in self.targets.items()
        }

    def points(self) -> dict[str, np.ndarray]:
        """The class and the middle voxel of every box."""
        d, found = self.store.ndim, {}
        for item, target in self.targets.items():
            t = _learnt(target)
            found[item] = np.column_stack([t[:, -2], (t[:, :d] + t[:, d : 2 * d]) / 2]).astype(int)
        return found

    def remarks(self, items: pd.DataFrame, classes: dict[int, str], strict: bool) -> list[str]:
        counts = [len(_learnt(self.targets[i])) for i in items.index]
        none = counts.count(0)
        words = [f"{sum(counts)} boxes on {len(items) - none} scans, none on {none}"]
        if twice := [i for i in items.index if self._twice[i]]:
            n = sum(self._twice[i] for i in twice)
            words.append(f"{n} boxes repeat another of their scan and class, and are taken once "
                         f"({listed(twice, SHOWN)})")  # fmt: skip
        if ignored := sum(len(self.targets[i]) for i in items.index) - sum(counts):
            words.append(f"{ignored} regions are ignored: neither a box nor background")
        left = sum((Counter(self._left[i]) for i in items.index), Counter())
        return words + [f"left out: {n} {why}" for why, n in sorted(left.items())]


def _learnt(target: np.ndarray) -> np.ndarray:
    """The rows that are boxes, not regions to be ignored."""
    return target[target[:, -1] == 0]


TRUTHS = {"masks": Masks, "answers": Answers, "boxes": BoxLists}
