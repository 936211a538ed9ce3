"""How the same weight is called in different libraries.

A dialect is a list of substitutions that turn a file's names into the network's. Which prefix stands
before the names is found by trying all that there are.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

# What published files call what; a name is tried as it stands first.
DIALECTS: dict[str, tuple[tuple[str, str], ...]] = {
    "timm's names of a Swin": ((r"\.mlp\.fc([12])\.", r".mlp.linear\1."),),
    "MONAI's SSL names of a Swin": (
        (r"^(layers\dc?\.0)\.0\.", r"\1."),
        (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
    ),
    "timm's names of a ViT": (
        (r"^patch_embed\.proj\.", "embed."),
        (r"^pos_embed$", "places.positions"),
        (r"\.attn\.qkv\.", ".qkv."),
        (r"\.attn\.proj\.", ".project."),
        (r"\.mlp\.fc1\.", ".mlp.0."),
        (r"\.mlp\.fc2\.", ".mlp.2."),
        (r"^fc_norm\.", "norm."),
    ),
    "MONAI's names of a ViT": (
        (r"^patch_embedding\.patch_embeddings\.(1\.)?(weight|bias)$", r"embed.\2"),
        (r"^patch_embedding\.position_embeddings$", "places.positions"),
        (r"\.attn\.qkv\.", ".qkv."),
        (r"\.attn\.out_proj\.", ".project."),
        (r"\.mlp\.linear1\.", ".mlp.0."),
        (r"\.mlp\.linear2\.", ".mlp.2."),
    ),
    "numbered parts of a ResNet": (
        (r"^0\.", "conv1."),
        (r"^1\.", "bn1."),
        (r"^4\.", "layer1."),
        (r"^5\.", "layer2."),
        (r"^6\.", "layer3."),
        (r"^7\.", "layer4."),
    ),
}
for _n in range(3, 8):  # its last level is called otherwise than those before it
    DIALECTS[f"MONAI's names of a DynUNet of {_n} levels"] = (
        (r"^input_block\.", "stages.0.0."),
        *[(rf"^downsamples\.{i}\.", f"stages.{i + 1}.0.") for i in range(_n - 2)],
        (r"^bottleneck\.", f"stages.{_n - 1}.0."),
    )
# Names of weights that are in the file under another one, too.
SECOND = re.compile(r"\.all_modules\.|(^|\.)decoder\.encoder\.|(^|\.)skip_layers\.")


def forms(name: str) -> Iterable[tuple[str, str]]:
    """(name, dialect) as it may be called here, by every dialect that calls it otherwise."""
    for dialect, pairs in DIALECTS.items():
        other = name
        for pattern, replacement in pairs:
            other = re.sub(pattern, replacement, other)
        if other != name:
            yield other, dialect


def stem_of(names: Iterable[str]) -> str:
    """The first part that all names of a network share ("net."), or nothing."""
    firsts = {name.partition(".")[0] for name in names}
    numbered = any(name.partition(".")[2][:1].isdigit() for name in names)
    return "" if len(firsts) != 1 or numbered else f"{firsts.pop()}."


def readings(
    source: Iterable[str], wanted: dict[str, int]
) -> dict[str, tuple[str, dict[str, str]]]:
    """For every prefix of the file's names: the dialect that covers most, and {wanted name: name there}.

    wanted  the network's names without their common first part, and their numbers of parameters
    """
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for name in source:
        for start in [0, *(m.end() for m in re.finditer(r"\.", name))]:
            prefix, tail = name[:start], name[start:]
            if tail in wanted:
                found[prefix][""][tail] = name
                continue
            for form, dialect in forms(tail):
                if form in wanted:
                    found[prefix][dialect].setdefault(form, name)
    chosen = {}
    for prefix, dialects in found.items():
        plain = dialects.pop("", {})
        read = {"": plain, **{dialect: {**other, **plain} for dialect, other in dialects.items()}}
        best = max(read, key=lambda dialect: sum(wanted[form] for form in read[dialect]))
        chosen[prefix] = best, read[best]
    return chosen
