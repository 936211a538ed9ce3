import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from medssl.tasks.answers import Classes, Grades, Labels, Number


def test_labels_are_learnt_each_alone_and_unknown_ones_cost_nothing():
    answer = Labels(["a", "b"])
    target = torch.tensor([[1.0, 0.0], [0.0, torch.nan]])
    logits = torch.tensor([[0.3, -1.0], [2.0, 5.0]])
    known = torch.tensor([[0.3, -1.0], [2.0, 0.0]])
    wanted = binary_cross_entropy_with_logits(
        torch.tensor([0.3, -1.0, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    )
    for given in (logits, known):
        assert torch.allclose(answer.loss(given, answer.encode(target), 0.0), wanted)
    counted = [np.array(each) for each in ([1, 0], [0, 0], [0, 1], [0, np.nan])]
    answer.learn(counted, balanced=True)
    assert answer.weights.tolist() == [3, 2]
    wanted = binary_cross_entropy_with_logits(
        torch.tensor([0.3, 2.0]), torch.tensor([1.0, 0.0]), pos_weight=torch.tensor(3.0)
    )
    assert torch.allclose(
        answer.loss(logits[:, :1].expand(2, 2), answer.encode(target[:, :1].expand(2, 2)), 0.0),
        (wanted * 2 + binary_cross_entropy_with_logits(
            torch.tensor([0.3, 2.0]), torch.tensor([1.0, 0.0]), pos_weight=torch.tensor(2.0)) * 2
         ) / 4,
    )  # fmt: skip
    row = answer.row(np.array([0.9, 0.2]))
    assert row == {"predicted": "a", "score_a": 0.9, "score_b": 0.2}
    assert np.isnan(answer.truth(np.array([1, np.nan]))["truth_b"])


def test_grades_are_products_of_steps_and_err_by_few():
    answer = Grades(["none", "mild", "much"])
    logits = torch.tensor([[0.4, -0.2]])
    one, two = torch.tensor([0.4, -0.2]).sigmoid().tolist()
    assert answer.scores(logits) == pytest.approx([1 - one, one * (1 - two), one * two])
    code = answer.encode(torch.tensor([0, 1, 2]))
    assert code[..., 0].tolist() == [[1, 0], [1, 1], [1, 1]]  # the second step is not asked of none
    assert code[..., 1].tolist() == [[0, 0], [1, 0], [1, 1]]
    logits = logits.expand(3, 2)
    nll = [-np.log(1 - one), -np.log(one * (1 - two)), -np.log(one * two)]
    assert float(answer.loss(logits, code, 0.0)) == pytest.approx(sum(nll) / 5)
    assert answer.row(np.array([0.4, 0.2, 0.4]))["predicted"] == "mild"  # the median, not the mode
    assert answer.truth(2) == {"truth": "much", "truth_step": 2}


def test_numbers_come_back_in_their_unit():
    answer = Number(["age"])
    ages = [20.0, 40.0, 60.0]
    answer.learn(ages, balanced=False)
    code = answer.encode(torch.tensor(ages))
    assert code.mean() == pytest.approx(0) and code.std(correction=0) == pytest.approx(1)
    assert answer.scores(code[2:]) == pytest.approx([60.0])
    assert answer.fit([code[:1] + 0.5, code[1:2]], [20.0, 40.0]) == pytest.approx(
        -float(answer.spread) / 4
    )
    assert answer.row(np.array([33.0])) == {"predicted": 33.0}
    assert answer.truth(50)["usual"] == pytest.approx(40)


@pytest.mark.parametrize("answer, target", [
    (Classes(["a", "b", "c"]), torch.tensor([0, 2, 1])),
    (Labels(["a", "b"]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])),
    (Grades(["a", "b", "c"]), torch.tensor([0, 2, 1])),
    (Number(["a"]), torch.tensor([1.0, -1.0, 0.5])),
])  # fmt: skip
def test_slices_of_a_case_are_averaged_and_codes_mix(answer, target):
    code = answer.encode(target)
    logits = torch.randn(3, answer.outputs, generator=torch.Generator().manual_seed(0))
    each = np.mean([answer.scores(logits[i : i + 1]) for i in range(3)], 0)
    assert answer.scores(logits) == pytest.approx(each, abs=1e-6)
    half = 0.5 * code + 0.5 * code.roll(-1, 0)
    assert torch.isfinite(answer.loss(logits, half, 0.1))


def test_the_score_of_no_learning_is_that_of_one_answer_for_all_cases():
    def scored(answer, logits, targets):
        score = answer.fit([torch.tensor([each]) for each in logits], targets)
        return score, answer.chance

    same = [[0.3, 0.1]] * 4
    score, chance = scored(Classes(["a", "b"]), same, [0, 1, 0, 1])
    assert score == chance == 0.5
    score, chance = scored(Labels(["a", "b"]), same, [np.array(t) for t in ([0, 1], [1, 0]) * 2])
    assert score == chance == 0.5
    score, chance = scored(Grades(["a", "b", "c"]), same, [0, 1, 2, 1])
    assert score == chance == 0
    number = Number(["n"])
    number.learn([1.0, 3.0], balanced=False)
    score, chance = scored(number, [[0.0]] * 2, [2.0, 5.0])
    assert score == chance == -1.5
    assert scored(number, [[0.0], [2.0]], [2.0, 5.0])[0] > chance
    assert scored(Classes(["a", "b"]), same, [0, 0, 0, 0])[1] is None  # of one class: no AUROC


def test_a_number_that_is_nearly_one_for_all_has_learnt_nothing_though_it_suits_the_cases():
    number = Number(["age"])
    number.learn([20.0, 40.0], balanced=False)
    ages, few = [50.0, 60.0, 70.0, 80.0, 90.0], [50.0, 90.0]
    flat = [torch.tensor([[4.0 + k / 100]]) for k in range(5)]  # 70 years, give or take half of one
    assert number.fit(flat, ages) == number.chance > -np.abs(30 - np.array(ages)).mean()
    assert number.fit(flat[:2], few) > number.chance, "two cases may be alike by chance"
    assert number.fit([torch.tensor([[2.0 + k]]) for k in range(5)], ages) > number.chance


def test_which_figure_is_told_follows_from_the_cases():
    answer, logits = Classes(["a", "b"]), [torch.tensor([[0.3, 0.1]])] * 2
    told = {answer.fit(logits, targets): answer.figure for targets in ([0, 1], [0, 0])}
    assert told == {0.5: "AUROC", 1.0: "accuracy"}
    assert Number(["age"]).figure == "minus mean absolute error"
