import torch

from medssl.augment.samples import for_some, of_each, uniform


def test_numbers_are_a_function_of_seed_and_purpose():
    one = uniform(torch.tensor([3, 4]), "one", 1000)
    assert torch.equal(uniform(torch.tensor([4]), "one", 1000)[0], one[1])
    assert torch.equal(uniform(torch.tensor([4]), "one", 5)[0], one[1, :5])
    other = uniform(torch.tensor([3, 4]), "other", 1000)
    both = torch.corrcoef(torch.cat([one, other]))
    assert (both - torch.eye(4)).abs().max() < 0.15
    assert 0 <= one.min() < 0.01 and 0.99 < one.max() < 1


def test_only_those_that_take_part_are_worked_on():
    image, seen = torch.arange(4.0).view(4, 1, 1, 1), []

    def work(some, rows):
        seen.append((some.flatten().tolist(), rows.tolist()))
        return some + 10

    part = torch.tensor([False, True, False, True])
    assert for_some(image, part, work).flatten().tolist() == [0, 11, 2, 13]
    assert for_some(image, torch.zeros(4, dtype=torch.bool), work) is image
    assert seen == [([1, 3], [1, 3])] and image.flatten().tolist() == [0, 1, 2, 3]
    assert of_each(2.0, image).shape == (4, 1, 1, 1)
