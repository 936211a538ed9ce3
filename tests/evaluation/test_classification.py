import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    mean_absolute_error,
    roc_auc_score,
    roc_curve,
)

from medssl.errors import UserError
from medssl.evaluation.classification import (
    bins,
    calibration_error,
    of_classes,
    of_labels,
    of_numbers,
    of_steps,
    once,
    plain,
    rank_figures,
    undefined,
)


def drawn(seed: int, ties: bool = False):
    rng = np.random.default_rng(seed)
    truth, p = rng.integers(0, 2, 80), rng.random(80)
    weights = rng.multinomial(80, np.full(80, 1 / 80), size=6).astype(float)
    return truth, p.round(1) if ties else p, weights


def sensitivity(truth, p, weight):
    false, found, _ = roc_curve(truth, p, sample_weight=weight, drop_intermediate=False)
    return found[false <= 0.1 + 1e-9].max()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_ranks_against_scikit_learn_for_every_weighting(seed, ties):
    truth, p, weights = drawn(seed, ties)
    found = rank_figures(truth == 1, p, weights)
    for row, weight in enumerate(weights):
        wanted = {
            "auroc": roc_auc_score(truth, p, sample_weight=weight),
            "auprc": average_precision_score(truth, p, sample_weight=weight),
            "sensitivity at 90 % specificity": sensitivity(truth, p, weight),
        }
        assert {k: v[row] for k, v in found.items()} == pytest.approx(wanted, abs=1e-9)
        chosen = np.repeat(np.arange(80), weight.astype(int))  # a weight is a number of copies
        again = plain(rank_figures(truth[chosen] == 1, p[chosen], once(len(chosen))))
        assert again == pytest.approx(wanted, abs=1e-9)


def test_two_classes_against_scikit_learn():
    truth, p, weights = drawn(0)
    found = of_classes(truth, np.column_stack([1 - p, p]), weights, ["no", "yes"])
    for row, weight in enumerate(weights):
        told = {k: v[row] for k, v in found.items()}
        assert told["auroc"] == pytest.approx(roc_auc_score(truth, p, sample_weight=weight))
        assert told["brier"] == pytest.approx(brier_score_loss(truth, p, sample_weight=weight))
        balanced = balanced_accuracy_score(truth, p > 0.5, sample_weight=weight)
        assert told["balanced_accuracy"] == pytest.approx(balanced)
        share = weight[(truth == 1) & (p > 0.5)].sum() / weight[truth == 1].sum()
        assert told["sensitivity, yes"] == pytest.approx(share)
        assert told["accuracy"] == pytest.approx((weight * ((p > 0.5) == truth)).sum() / 80)


def test_several_classes_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    found = plain(of_classes(truth, scores, once(200), "abc"))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"))
    wanted = brier_score_loss(truth, scores, scale_by_half=False)
    assert found["brier"] == pytest.approx(wanted)
    each = [sensitivity(truth == k, scores[:, k], None) for k in range(3)]
    assert found["sensitivity at 90 % specificity"] == pytest.approx(np.mean(each))


def test_a_class_without_cases_is_left_out_of_the_mean():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, 60), rng.dirichlet(np.ones(3), 60)
    each = [roc_auc_score(truth == k, scores[:, k]) for k in (0, 1)]
    found = plain(of_classes(truth, scores, once(60), "abc"))
    assert found["auroc"] == pytest.approx(np.mean(each)) and np.isnan(found["sensitivity, c"])


def test_what_was_called_may_differ_from_the_highest_score():
    truth, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.4, 0.9])
    scores = np.column_stack([1 - p, p])
    assert plain(of_classes(truth, scores, once(4), "ab"))["accuracy"] == 0.75
    called = plain(of_classes(truth, scores, once(4), "ab", predicted=(p > 0.35).astype(int)))
    assert called["accuracy"] == called["sensitivity, b"] == 1 and called["auroc"] == 1


def test_one_class_only_is_not_defined_and_no_crash():
    found = plain(of_classes(np.ones(5, int), np.full((5, 2), 0.5), once(5), "ab"))
    assert np.isnan([found["auroc"], found["auprc"], found["sensitivity, a"]]).all()
    assert found["accuracy"] == 0 and found["brier"] == 0.25
    assert undefined([0, 1]) == ""
    assert "every case is of class opacity" in undefined(["opacity"] * 3)
    assert "there is no case" in undefined([])


def test_calibration_error_by_hand_and_at_the_ends_of_bins():
    confidence, right = np.array([0.95, 0.95, 0.7, 0.7]), np.array([True, False, True, True])
    wanted = (2 * abs(0.95 - 0.5) + 2 * abs(0.7 - 1)) / 4
    assert calibration_error(confidence, right, once(4))[0] == pytest.approx(wanted)
    assert bins([0, 1 / 15, 1 / 15 + 1e-6, 0.2, 1]).tolist() == [0, 0, 1, 2, 14]
    rng = np.random.default_rng(0)
    p = rng.random(200_000)  # what is said is what happens
    assert calibration_error(p, rng.random(200_000) < p, once(200_000))[0] < 0.01


def test_labels_leave_out_what_is_not_known():
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, (90, 2)).astype(float), rng.random((90, 2))
    truth[:20, 1] = np.nan
    found = plain(of_labels(truth, p, once(90), ["a", "b"]))
    a, b = roc_auc_score(truth[:, 0], p[:, 0]), roc_auc_score(truth[20:, 1], p[20:, 1])
    assert (found["auroc, a"], found["auroc, b"]) == pytest.approx((a, b))
    assert found["auroc"] == pytest.approx((a + b) / 2)
    assert found["brier, b"] == pytest.approx(((truth[20:, 1] - p[20:, 1]) ** 2).mean())


def test_grades_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    weights = rng.multinomial(100, np.full(100, 0.01), size=3).astype(float)
    ours = of_steps(truth, found, weights)
    for row, weight in enumerate(weights):
        kappa = cohen_kappa_score(truth, found, weights="quadratic", sample_weight=weight)
        assert ours["quadratic_kappa"][row] == pytest.approx(kappa)
        error = mean_absolute_error(truth, found, sample_weight=weight)
        assert ours["error in steps"][row] == pytest.approx(error)
    assert np.isnan(of_steps(truth * 0, truth * 0, once(100))["quadratic_kappa"][0])


def test_numbers_and_the_training_mean():
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, 60)
    found, usual = truth + rng.normal(0, 3, 60), np.full(60, 49.0)
    ours = plain(of_numbers(truth, found, usual, once(60)))
    assert ours["mean_absolute_error"] == pytest.approx(np.abs(truth - found).mean())
    assert ours["gain over the training mean"] == pytest.approx(
        np.abs(truth - 49).mean() - np.abs(truth - found).mean()
    )
    assert ours["correlation"] == pytest.approx(np.corrcoef(truth, found)[0, 1])
    assert np.isnan(plain(of_numbers(truth, usual, usual, once(60)))["correlation"])


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="SCORES .*2 scores are not finite"):
        of_classes(np.array([0, 1]), np.array([[np.nan, 1], [0, np.inf]]), once(2), "ab")
