"""The slice-order term, and batches of several boxes a scan."""

import numpy as np
import pytest
import torch

from medssl.methods.parts.order import SliceOrder, order_loss, rows
from medssl.methods.parts.views import view_seeds


def batch(ndim=3, b=2, s=3, channels=2):
    size = (4, 5, 6)[:ndim]
    return {
        "image": torch.randn(b, s, channels, *size),
        "place": torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.4, 0.6]]),
        "part": torch.arange(s).expand(b, s),
        "seed": torch.tensor([7, 8]),
        "item": torch.tensor([30, 40]),
    }


@pytest.mark.parametrize("ndim", [2, 3])
def test_boxes_of_a_batch_become_rows_the_first_scan_in_front(ndim):
    data = batch(ndim)
    found = rows(data)
    assert found.image.shape == (6, *data["image"].shape[2:])
    assert torch.equal(found.image[4], data["image"][1, 1])
    assert found.sample.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.item.tolist() == [30, 30, 30, 40, 40, 40]
    assert found.place[4] == data["place"][1, 1]


def test_every_box_and_every_view_has_a_seed_of_its_own_that_follows_from_the_sample():
    found = rows(batch())
    seeds = [*found.seed.tolist(), *view_seeds(found.seed, 2).flatten().tolist(), 7, 8]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 0
    assert torch.equal(rows(batch()).seed, found.seed)
    alone = {k: v[1:] for k, v in batch().items()}
    assert torch.equal(rows(alone).seed, found.seed[3:])


def test_a_batch_without_partitions_stays_as_it_is():
    data = {"image": torch.randn(2, 1, 4, 4), "seed": torch.tensor([7, 8])}
    found = rows(data)
    assert found.image is data["image"] and found.seed is data["seed"] and found.place is None
    assert found.sample.tolist() == [0, 1] and found.item.tolist() == [7, 8]
    assert rows(data | {"item": torch.tensor([3, 4])}).item.tolist() == [3, 4]


def test_loss_against_numpy_in_float64():
    rng = np.random.default_rng(0)
    score, place = rng.normal(size=9), rng.permutation(9) / 9
    sample = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1])
    losses, right = [], []
    for i in range(9):
        for j in range(9):
            if sample[i] == sample[j] and place[i] > place[j]:
                losses.append(-np.log(1 / (1 + np.exp(-(score[i] - score[j])))))
                right.append(score[i] > score[j])
    loss, share = order_loss(*map(torch.from_numpy, (score, place, sample)))
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(share) == pytest.approx(np.mean(right))


def test_loss_is_log_2_for_equal_scores_and_low_for_rising_ones():
    place, sample = torch.tensor([0.1, 0.5, 0.9, 0.5]), torch.tensor([0, 0, 0, 1])
    loss, right = order_loss(torch.ones(4), place, sample)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6) and right == 0
    loss, right = order_loss(place * 100, place, sample)
    assert loss < 1e-6 and right == 1
    loss, right = order_loss(-place * 100, place, sample)
    assert loss > 30 and right == 0


def test_only_scans_with_themselves_are_compared():
    place, sample = torch.tensor([0.1, 0.9, 0.2, 0.8]), torch.tensor([0, 0, 1, 1])
    score = torch.tensor([0.0, 1.0, 0.0, 1.0])
    shifted = score + torch.tensor([0.0, 0.0, 50.0, 50.0])
    torch.testing.assert_close(order_loss(shifted, place, sample), order_loss(score, place, sample))


def test_boxes_at_the_same_place_have_no_order_and_no_gradient():
    score = torch.randn(3, requires_grad=True)
    loss, right = order_loss(score, torch.full((3,), 0.5), torch.zeros(3))
    loss.backward()
    assert loss == 0 and right == 0 and not score.grad.any()


def test_without_weight_nothing_is_added_and_nothing_is_trained():
    order = SliceOrder(4, 0.0)
    assert not list(order.parameters())
    assert order(
        torch.randn(2, 4), rows({"image": torch.randn(2, 1, 4), "seed": torch.ones(2)})
    ) == (0.0, {})


def test_the_weight_scales_the_term_and_places_are_learned():
    torch.manual_seed(0)
    found = rows(batch())
    features = torch.randn(12, 8)  # two views
    order, double = SliceOrder(8, 0.5), SliceOrder(8, 1.0)
    double.load_state_dict(order.state_dict())
    term, logs = order(features, found)
    torch.testing.assert_close(2 * term, double(features, found)[0])
    assert float(term.detach()) == pytest.approx(0.5 * logs["order"])
    optimizer = torch.optim.SGD(order.parameters(), 1.0)
    for _ in range(50):
        term, logs = order(features, found)
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
    assert logs["ordered"] > 0.9


def test_views_of_a_box_are_rows_of_the_same_place():
    """Scores follow the place in both views: the rows of the second view are matched to theirs."""
    found = rows(batch())
    order = SliceOrder(1, 1.0)
    order.score.weight.data[:] = 1.0
    _, logs = order(found.place.repeat(2)[:, None], found)
    assert logs["ordered"] == 1.0
    _, logs = order(torch.cat([found.place, -found.place])[:, None], found)
    assert logs["ordered"] < 1.0


def test_half_precision_features_are_compared_in_float32():
    score = torch.tensor([100.0, 100.25], dtype=torch.bfloat16)
    loss, _ = order_loss(score, torch.tensor([0.0, 1.0]), torch.zeros(2))
    assert loss.dtype == torch.float32
