import numpy as np
import pytest

from medssl.evaluation.classification import of_classes, of_numbers, of_steps, once
from medssl.evaluation.detection import Boxes, of_boxes
from medssl.evaluation.summary import MEASURES
from medssl.evaluation.titles import sentence, title


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dice, mean of classes", "Dice, mean of classes"),
        ("nsd, left_kidney", "NSD, left_kidney"),
        ("hd95_mm, Liver", "HD95 in mm, Liver"),
        ("map", "mAP at IoU 0.5 to 0.95"),
        ("ap at IoU 0.5, mass", "AP at IoU 0.5, mass"),
        ("froc_mean", "Mean sensitivity at 1/8 to 8 false a scan"),
        ("calibration_error before temperature", "Calibration error before temperature"),
        ("quadratic_kappa", "Quadratic kappa"),
    ],
)
def test_figures_have_readable_names(name, said):
    assert title(name) == said


def test_no_figure_is_called_by_its_key():
    truth, number = np.array([0, 1, 0, 1]), np.arange(4.0)
    box = Boxes(np.array([[0, 0, 9, 9.0]]), np.array([1]), np.array([0.9]))
    told = {
        **of_classes(truth, np.eye(2)[truth], once(4), ["a", "b"]),
        **of_steps(number, number, once(4)),
        **of_numbers(number, number, number, once(4)),
        **of_boxes([box], [box], {1: "x"}, once(1), 0.5),
        **dict.fromkeys(MEASURES),
    }
    for name in told:
        assert "_" not in title(name)
        assert title(name)[0].isupper() or title(name).startswith("mAP"), name


def test_a_remark_becomes_a_sentence():
    assert sentence("all NSD is 0") == "All NSD is 0." and sentence("NSD is") == "NSD is."
