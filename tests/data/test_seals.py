import io
import json

import pandas as pd
import pytest

from medssl.data import seals

VALUES = {"a": 1e-05, "b": ["é", {"c": None}], "text": "0A\n"}
TABLE = pd.DataFrame({"id": ["a", "b", "c"], "n": [1, 2, 3]})


def flipped(content: bytes):
    """The content with each of its bits changed, one at a time."""
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_every_bit_of_a_json_file_counts():
    text = seals.sealed_json(VALUES)
    assert seals.read_json(text) == VALUES
    for changed in flipped(text.encode()):
        with pytest.raises(ValueError):
            seals.read_json(changed.decode(errors="strict"))


def test_every_bit_of_a_parquet_file_counts():
    content = seals.sealed_parquet(TABLE.to_parquet(index=False))
    seals.check_parquet(content)
    assert pd.read_parquet(io.BytesIO(content)).equals(TABLE)
    for changed in flipped(content):
        with pytest.raises(ValueError):
            seals.check_parquet(changed)
    for cut in (0, 3, 7, 12, len(content) - 1):
        with pytest.raises(ValueError):
            seals.check_parquet(content[:cut])


def test_files_of_before_are_taken_as_they_are():
    assert seals.read_json(json.dumps(VALUES)) == VALUES
    seals.check_parquet(TABLE.to_parquet(index=False))
    with pytest.raises(ValueError, match="mapping"):
        seals.read_json("[1]")
