"""Which phantom patient has the finding, and which split a patient belongs to."""

from medssl.seeding import generator


def has_finding(seed: int, kind: str, patient: int) -> bool:
    """Whether a patient has the finding of the cohort `kind`: exactly one of each pair 2k, 2k+1."""
    return bool(
        (patient + generator(seed, f"phantom.{kind}.finding", patient // 2).integers(2)) % 2
    )


def splits(seed: int, kind: str, patients: int) -> list[str]:
    """train, val or test for every patient of a cohort.

    Whole pairs go together, about a fifth each to val and test, so that every split has as many
    patients with the finding as without; cohorts under six patients are dealt one by one.
    """
    unit = 2 if patients >= 6 else 1
    units = -(-patients // unit)
    order = generator(seed, f"phantom.{kind}.splits").permutation(units)
    share = max(1, round(units / 5))
    names = ["test"] * (share if units >= 2 else 0) + ["val"] * (share if units >= 3 else 0)
    names += ["train"] * (units - len(names))
    place = {int(u): name for u, name in zip(order, names, strict=True)}
    return [place[p // unit] for p in range(patients)]
