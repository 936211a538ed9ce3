import numpy as np
import pandas as pd
import pytest

from medssl.data.truths import Answers, BoxLists, Masks
from medssl.errors import UserError


class Shelf:
    """A store of four films, three with boxes and two with masks."""

    folder, ndim = "shelf", 2

    def __init__(self):
        rows = [("a", "[1]", True), ("b", "[]", False), ("c", "[2]", True), ("d", "", False)]
        self.items = pd.DataFrame(rows, columns=["id", "boxes", "has_mask"]).set_index(
            "id", drop=False
        )
        self.items["label_sex"] = ["F", "M", "F", ""]
        self.given = {
            "a": ([[0, 0, 4, 4], [2, 2, 9, 9]], ["mass", "cyst"], [0, 0]),
            "c": ([[1, 1, 3, 3]], ["cyst"], [0]),
        }

    def boxes(self, item):
        box, names, ignored = self.given.get(item, ([], [], []))
        return np.array(box, float).reshape(-1, 4), names, np.array(ignored, bool)

    def read_mask(self, item):
        mask = np.zeros((1, 8, 8), np.uint8)
        mask[0, 1:3, 1:4], mask[0, 6, 6] = 1, 2 if item == "a" else 1
        return mask

    def foreground(self, item):
        mask = self.read_mask(item)[0]
        where = np.argwhere(mask)
        return np.column_stack([mask[tuple(where.T)], where])

    def read(self, item):
        return np.zeros((1, 8, 8), np.float32)


def test_boxes_are_read_with_their_classes_and_films_without_any_count():
    truths = BoxLists(Shelf())
    labelled = truths.labelled()
    assert list(labelled.index) == ["a", "b", "c"]
    classes = truths.classes(labelled)
    assert classes == {1: "cyst", 2: "mass"}
    truths.read(classes)
    assert truths.targets["a"].tolist() == [[0, 0, 4, 4, 2, 0], [2, 2, 9, 9, 1, 0]]
    assert truths.targets["b"].shape == (0, 6)
    assert truths.for_crops()["c"].shape == (2, 6) and np.isnan(truths.for_crops()["c"][1]).all()
    assert truths.points()["a"].tolist() == [[2, 2, 2], [1, 5, 5]]
    assert truths.remarks(labelled, classes, True) == ["3 boxes on 2 scans, none on 1"]
    assert [len(t) for _, t in truths.held_out(labelled)] == [2, 0, 1]


def test_classes_can_be_chosen_if_others_are_left_out_knowingly():
    with pytest.raises(UserError, match=r"boxes are of \['mass'\]"):
        BoxLists(Shelf(), names={5: "cyst"}).classes(Shelf().items)
    truths = BoxLists(Shelf(), names={5: "cyst"}, others=True)
    truths.read(truths.classes(Shelf().items))
    assert truths.targets["a"].tolist() == [[2, 2, 9, 9, 5, 0]]
    assert "left out: 1 boxes of mass" in truths.remarks(truths.labelled(), {}, True)
    said = BoxLists(Shelf(), names={5: "cyst"}, others=True, expected=True)
    said.read({5: "cyst"})
    assert not any("mass" in words for words in said.remarks(said.labelled(), {}, True))
    assert truths.gaps(truths.labelled().loc[["c"]], truths.labelled()) == []  # left out on purpose


def test_regions_to_be_ignored_are_no_boxes_and_bring_no_class():
    shelf = Shelf()
    shelf.given = {
        "a": ([[0, 0, 4, 4], [2, 2, 9, 9]], ["cyst", "cyst"], [0, 1]),
        "b": ([[1, 1, 3, 3], [5, 5, 8, 8]], ["mass", "cyst"], [1, 1]),
    }
    truths = BoxLists(shelf)
    labelled = truths.labelled()
    classes = truths.classes(labelled)
    assert classes == {1: "cyst"}
    truths.read(classes)
    assert truths.targets["a"].tolist() == [[0, 0, 4, 4, 1, 0], [2, 2, 9, 9, 1, 1]]
    assert truths.targets["b"].tolist() == [[5, 5, 8, 8, 1, 1]]
    assert truths.points()["a"].tolist() == [[1, 2, 2]] and not len(truths.points()["b"])
    assert truths.remarks(labelled, classes, True) == [
        "1 boxes on 1 scans, none on 2", "2 regions are ignored: neither a box nor background",
    ]  # fmt: skip


def test_boxes_told_twice_are_taken_once_and_counted():
    shelf = Shelf()
    box, other = [0, 0, 4, 4], [0, 0, 4, 5]
    shelf.given = {
        "a": ([box, other, box, box], ["cyst"] * 4, [0] * 4),
        "b": ([other, other], ["cyst", "mass"], [0, 0]),  # two classes
        "c": ([other, other], ["cyst"] * 2, [0, 1]),
    }
    truths = BoxLists(shelf)
    labelled = truths.labelled()
    truths.read(truths.classes(labelled))
    assert truths.targets["a"].tolist() == [[*box, 1, 0], [*other, 1, 0]]
    assert [len(truths.targets[i]) for i in "bc"] == [2, 2]
    words = "2 boxes repeat another of their scan and class, and are taken once (a)"
    assert words in truths.remarks(labelled, {}, True)
    assert not any("repeat" in w for w in truths.remarks(labelled.loc[["b", "c"]], {}, True))


def test_a_class_that_only_validation_holds_is_named_counted_and_how_to_mend_it_said():
    shelf = Shelf()
    shelf.items["label_kind"] = ["rare", "rare", "plain", "other"]
    shelf.items["label_cyst"] = ["yes", "", "no", ""]
    shelf.items["label_age"] = [1.0, 2.0, 3.0, 4.0]
    train, validation = shelf.items.loc[["c"]], shelf.items.loc[["a", "b"]]
    (said,) = BoxLists(shelf).gaps(train, validation)
    assert said.startswith("1 of 2 validation scans hold mass, which no training scan does")
    assert "splits=" in said
    (said,) = BoxLists(shelf, of_masks=True).gaps(train, shelf.items.loc[["a", "c"]])
    assert said.startswith("1 of 2 validation scans hold class_2, which no training scan does")
    (said,) = Masks(shelf, names={1: "one", 2: "two"}).gaps(train, shelf.items.loc[["a", "c"]])
    assert "hold two" in said
    assert Masks(shelf).gaps(shelf.items.loc[["a"]], train) == []
    (said,) = Answers(shelf, ["label_kind"], "class").gaps(train, validation)
    assert said.startswith("2 of 2 validation scans hold rare, which no training scan does")
    (said,) = Answers(shelf, ["label_cyst"], "labels").gaps(train, validation)
    assert said.startswith("1 of 2 validation scans hold cyst")
    assert Answers(shelf, ["label_age"], "number").gaps(train, validation) == []


def test_a_class_that_is_asked_for_and_nowhere_to_learn_from_is_said():
    shelf = Shelf()
    shelf.items["label_cyst"] = ["no", "", "no", ""]
    train, validation = shelf.items.loc[["a"]], shelf.items.loc[["c"]]
    for truths in (
        BoxLists(shelf, names={1: "cyst", 2: "mass", 3: "gone"}),
        Masks(shelf, names={1: "one", 2: "two", 3: "gone"}),
        Answers(shelf, ["label_sex"], "class", {0: "F", 1: "gone"}),
    ):
        (said,) = truths.gaps(train, validation)
        assert said.startswith("gone is asked for, and no scan to learn from holds it")
    (said,) = Answers(shelf, ["label_cyst"], "labels").gaps(train, validation)
    assert said.startswith("cyst is asked for")


def test_boxes_around_parts_of_masks():
    truths = BoxLists(Shelf(), of_masks=True, smallest=2, names={1: "one", 2: "two"})
    labelled = truths.labelled()
    assert list(labelled.index) == ["a", "c"]
    truths.read(truths.classes(labelled))
    assert truths.targets["a"].tolist() == [[1, 1, 3, 4, 1, 0]]
    assert truths.remarks(labelled, {}, True)[1] == "left out: 2 parts under 2 voxels"


def test_nothing_to_learn_from_is_said():
    bare = Shelf()
    bare.items["boxes"] = ""
    with pytest.raises(UserError, match="none of its 4 scans has boxes"):
        BoxLists(bare).labelled()
    with pytest.raises(UserError, match="no training scan has a box"):
        BoxLists(Shelf()).classes(Shelf().items.loc[["b"]])


def test_answers_know_their_items_and_masks_are_read_with_the_crops():
    truths = Answers(Shelf(), ["label_sex"], "class")
    labelled = truths.labelled()
    assert list(labelled.index) == ["a", "b", "c"] and truths.stratify == "label_sex"
    truths.read(truths.classes(labelled))
    assert truths.targets == {"a": 0, "b": 1, "c": 0} and truths.points() is None
    masks = Masks(Shelf())
    assert masks.classes(masks.labelled()) == {1: "class_1", 2: "class_2"}
    assert masks.targets is None and masks.for_crops() is None


def test_classes_are_told_in_a_line_and_the_way_to_fewer_where_they_are_many():
    none = Shelf().items.iloc[:0]
    names = {1: "anterior", 2: "posterior"}
    assert Masks(Shelf(), names=names).told(names, none) == "2 classes: anterior, posterior"
    assert Masks(Shelf()).told({4: "class_4", 9: "class_9"}, none) == "2 classes: 4, 9"
    line = Masks(Shelf()).told({k: f"class_{k}" for k in range(4, 153)}, none)
    assert line.startswith(
        "149 classes: 4, 5, 6, 7, 8, ..., 152: all that the masks hold; name some"
    )
    assert "classes='{4: NAME, 5: NAME}' others=true" in line
    many = {k: f"organ {k}" for k in range(30)}
    assert Masks(Shelf(), names=many).told(many, none).endswith("organ 4, ..., organ 29")
    assert Answers(Shelf(), reads="number").told({0: "age"}, none) == "1 number: age"
    assert Answers(Shelf(), reads="grades").told({0: "I", 1: "II"}, none) == "2 grades: I, II"
    assert Answers(Shelf(), reads="class").told({0: "ill"}, none) == "1 class: ill"


def test_values_that_no_class_is_made_of_are_told():
    shelf = Shelf()
    line = Masks(shelf, names={2: "cyst"}, others=True).told({2: "cyst"}, shelf.items)
    assert line.startswith(
        "1 class: cyst; taken as background: 1 other value of 4 masks, 1 (recode= of"
    )
