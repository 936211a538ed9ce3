"""Weights of a foreign file for a network of ours: matched, adapted, and every tensor accounted for."""

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.interop.ledger import Ledger
from medssl.interop.names import SECOND, readings, stem_of
from medssl.interop.shapes import adapt

SHOWN = 4
# What torch keeps in a state and nobody learns: positions of a window, how many batches there were.
COUNTED = ("relative_position_index", "num_batches_tracked")


def match(
    backbone: nn.Module, source: dict[str, Tensor], prefix: str | None = None, where: object = "weights"
) -> Ledger:  # fmt: skip
    """Load what fits into the backbone, and say what became of everything.

    prefix  that stands before the names in the file; none: the one that fits best
    where   the file, for errors
    Raises UserError where no weight fits, and where two sets of weights fit alike.
    """
    target = backbone.state_dict()
    learnt = {name: value for name, value in target.items() if not name.endswith(COUNTED)}
    stem = stem_of(learnt)
    wanted = {name.removeprefix(stem): value.numel() for name, value in learnt.items()}
    chosen, dialect, pairs = _chosen(source, wanted, prefix, where)
    context = {"in_channels": backbone.in_channels, "ndim": backbone.ndim}
    if hasattr(backbone, "patch"):
        context["patch"] = backbone.patch
    ledger, state, used, unfit = Ledger(), dict(target), set(), {}
    for name, value in learnt.items():
        short = name.removeprefix(stem)
        taken, how, in_file = None, "", ""
        if short in pairs:
            in_file = pairs[short]
            renamed = not in_file.endswith(short)
            taken, how = _fitted(short, source[in_file], value, {**context, "renamed": renamed})
            if taken is None:
                unfit[in_file] = _against(source[in_file], value)
            elif not how and renamed:
                how = f"named in {dialect}"
        elif short.endswith(".bias") and _weight(short) in pairs and ".qkv." in f".{short}":
            taken, how = torch.zeros_like(value), "no bias in the file: 0, which is the same"
        if taken is None:
            why = unfit.get(in_file, "not in the file")
            ledger.add("missing", weight=name, how=why, shape=value.shape, n=value.numel())
            continue
        state[name] = taken.to(value.dtype)
        used.add(in_file)
        before = source[in_file].shape if in_file else ()
        status = "loaded" if in_file and before == value.shape and _as_named(how) else "adapted"
        ledger.add(
            status, weight=name, in_file=in_file, how=how, shape=value.shape, before=before,
            n=value.numel(),
        )  # fmt: skip
    for name, value in source.items():
        if name not in used:
            why = _why_not(name, value, chosen, unfit, source, used)
            ledger.add("skipped", in_file=name, how=why, before=value.shape, n=value.numel())
    if ledger.share == 0:
        raise _nothing(source, learnt, unfit, where)
    backbone.load_state_dict(state)
    return ledger


def _chosen(source, wanted, prefix, where) -> tuple[str, str, dict[str, str]]:
    """The prefix of the file's names, their dialect, and {wanted name: name in the file}."""
    found = readings(source, wanted)
    covered = {p: sum(wanted[name] for name in pairs) for p, (_, pairs) in found.items()}
    if prefix is not None:
        given = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
        if given not in found:
            there = _ranked(covered, wanted)
            raise UserError(
                "WEIGHTS", f"prefix={prefix}", "no name behind it is one of the network's",
                f"leave prefix out, or give one of these (share of the network): {there}"
                if there else "choose the backbone that the weights were made for",
            )  # fmt: skip
        return given, *found[given]
    if not found:
        raise _nothing(source, wanted, {}, where)
    best = max(covered.values())
    first, *others = sorted((p for p, n in covered.items() if n == best), key=lambda p: (len(p), p))
    for other in others:
        one, two = found[first][1], found[other][1]
        if any(not _equal(source, one.get(name), two.get(name)) for name in wanted):
            raise UserError(
                "WEIGHTS", "prefix", f"two sets of weights fit alike: those behind "
                f"{first or 'nothing'!r} and behind {other!r}",
                f"say which: prefix={first} or prefix={other} (a teacher or EMA is usually better)",
            )  # fmt: skip
    return first, *found[first]


def _equal(source, a: str | None, b: str | None) -> bool:
    """Whether two names stand for the same numbers, or are both not there."""
    if a is None or b is None:
        return a == b
    one, two = source[a], source[b]
    return one.shape == two.shape and bool(torch.equal(one, two))


def _ranked(covered: dict[str, int], wanted: dict[str, int]) -> str:
    whole = max(sum(wanted.values()), 1)
    best = sorted(covered.items(), key=lambda item: -item[1])[:SHOWN]
    return ", ".join(f"{p or chr(39) * 2} ({n / whole:.0%})" for p, n in best)


def _fitted(name, given, wanted, context) -> tuple[Tensor | None, str]:
    kind = "" if given.dtype == wanted.dtype else f"from {str(given.dtype).removeprefix('torch.')}"
    # Another library may lay the numbers of a patch out otherwise in the same shape.
    if given.shape == wanted.shape and not (name == "embed.weight" and context["renamed"]):
        return given, kind
    if not given.is_floating_point():
        return None, ""
    found = adapt(name, given, wanted, context)
    if found is None:
        return None, ""
    words = "" if found[1] == "as it was" else found[1]
    return found[0], "; ".join(filter(None, [words, kind]))


def _as_named(how: str) -> bool:
    """Whether a tensor came as it was, but for its name or its precision."""
    return not how or how.startswith(("named in", "from "))


def _weight(name: str) -> str:
    return f"{name.removesuffix('bias')}weight"


def _against(given: Tensor, wanted: Tensor) -> str:
    there, here = ("x".join(map(str, t.shape)) for t in (given, wanted))
    return f"{there} in the file, {here} here, and no rule turns one into the other"


def _why_not(name, value, chosen, unfit, source, used) -> str:
    if name in unfit:
        return unfit[name]
    if SECOND.search(name):
        return "a second name of weights"
    if name.endswith(COUNTED):
        return "made anew: nothing that was learnt"
    if not name.startswith(chosen):
        return f"not behind {chosen}"
    if name.endswith(("cls_token", "mask_token")):
        return "the network has no such token"
    return "no part of the encoder"


def _nothing(source, wanted, unfit, where) -> UserError:
    shapes = next(iter(unfit.values()), "")
    cause = f"none of its {len(source)} tensors fits" + (f" ({shapes})" if shapes else "")
    there, here = (", ".join(list(names)[:SHOWN]) for names in (source, wanted))
    by_name = len(unfit) > len(wanted) / 2
    fix = (
        "set the backbone's options (width, depth, patch) to those of the file"
        if by_name
        else "choose the backbone that the weights were made for; medssl backbones lists them"
    )
    return UserError("WEIGHTS", where, f"{cause}; it names {there}; wanted are {here}", fix)
