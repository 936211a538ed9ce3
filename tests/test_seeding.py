from medssl.seeding import generator, key, torch_generator

KNOWN = 7134422430951335918  # a change here would change every run that is resumed


def test_draws_depend_on_every_part_of_the_name_and_on_nothing_else():
    names = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 1, 0)]
    assert len({key(*n) for n in names}) == len(names)
    generator(0, "other").random(100)
    assert generator(0, "a", 1).random() == generator(0, "a", 1).random()


def test_torch_and_numpy_seeds_fit():
    assert 0 <= key(3, "x") < 2**63
    assert torch_generator(3, "x").initial_seed() == key(3, "x")


def test_keys_are_the_same_in_every_version():
    assert key(0, "order", 0) == KNOWN
