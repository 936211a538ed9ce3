import re

import pytest

from medssl.interop.names import DIALECTS, forms, readings, stem_of


def test_what_all_names_begin_with_is_left_out():
    assert stem_of(["net.conv1.weight", "net.bn1.bias"]) == "net."
    assert stem_of(["embed.weight", "norm.bias"]) == ""
    assert stem_of(["stages.0.weight", "stages.1.weight"]) == ""  # numbers alone say too little


def test_a_prefix_is_found_and_the_dialect_that_covers_most():
    wanted = {"embed.weight": 8, "blocks.0.qkv.weight": 4, "blocks.0.mlp.0.bias": 2}
    source = [
        "model.vit.patch_embedding.patch_embeddings.weight",
        "model.vit.blocks.0.attn.qkv.weight",
        "model.vit.blocks.0.mlp.linear1.bias",
        "model.head.weight",
    ]
    dialect, pairs = readings(source, wanted)["model.vit."]
    assert dialect == "MONAI's names of a ViT"
    assert pairs == dict(zip(wanted, source, strict=False))


def test_a_name_as_it_stands_has_the_last_word():
    wanted = {"blocks.0.mlp.linear1.weight": 1}
    source = ["blocks.0.mlp.fc1.weight", "blocks.0.mlp.linear1.weight"]
    for order in (source, source[::-1]):
        _, pairs = readings(order, wanted)[""]
        assert pairs == {"blocks.0.mlp.linear1.weight": "blocks.0.mlp.linear1.weight"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_changes_names_and_only_by_patterns_that_compile(dialect):
    assert all(re.compile(pattern) for pattern, _ in DIALECTS[dialect])
    names = [
        "layers1.0.blocks.0.mlp.fc1.weight", "layers1.0.0.blocks.0.norm1.weight", "pos_embed",
        "patch_embedding.position_embeddings", "4.0.conv1.weight", "bottleneck.conv1.conv.weight",
    ]  # fmt: skip
    assert any(dialect in dict(map(reversed, forms(name))) for name in names)
    assert not list(forms("head.weight"))
