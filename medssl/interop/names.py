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
    "MONAI's names of a DynUNet": (
        (r"^input_block\.", "stages.0.0."),
        (r"^downsamples\.0\.", "stages.1.0."),
        (r"^downsamples\.1\.", "stages.2.0."),
        (r"^downsamples\.2\.", "stages.3.0."),
        (r"^downsamples\.3\.", "stages.4.0."),
    ),
}
# Names of weights that are in the file under another one, too.
SECOND = re.compile(r"\.all_modules\.|(^|\.)decoder\.encoder\.|(^|\.)skip_layers\.")


def forms(name: str) -> Iterable[tuple[str, str]]:
    """(name, dialect) as it may be called here; the dialect is empty for the name itself."""
    yield name, ""
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


def prefixes(
    source: Iterable[str], wanted: dict[str, int]
) -> dict[str, dict[str, tuple[str, str]]]:
    """For every prefix of the file's names: {wanted name: (name in the file, dialect)}.

    wanted  the network's names without their common first part, and their numbers of parameters
    """
    found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for name in source:
        starts = [0, *(m.end() for m in re.finditer(r"\.", name))]
        for start in starts:
            for form, dialect in forms(name[start:]):
                if form in wanted:
                    known = found[name[:start]].get(form)
                    # The name as it stands before any other, and no second name of the same weight.
                    if known is None or (known[1] and not dialect):
                        found[name[:start]][form] = (name, dialect)
                    break
    return dict(found)
