"""Checksums that lie in the files themselves, so that bytes that have rotted are noticed when read.

A JSON object holds one as its last value. A Parquet file holds one between its pages and its footer, where
no reader looks: readers find the footer from the end, and the pages from the start. Files without any, of
earlier versions or other programs, are taken as they are.
"""

import json

KEY = "checksum"
MARK = b"\x00sealed\xff"
DIGEST = 16  # bytes
MAGIC = b"PAR1"
ROTTEN = "its bytes are not those that were written (checksum differs)"


def sealed_json(values: dict) -> str:
    return json.dumps(
        {**values, KEY: _digest(json.dumps(values, indent=1).encode()).hex()}, indent=1
    )


def read_json(text: str) -> dict:
    """What `sealed_json` was given. Raises ValueError if a byte of it has changed."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("it holds no mapping")
    if KEY not in values:
        if any(_almost(name.encode(), KEY.encode()) for name in values):
            raise ValueError(ROTTEN)
        return values
    del values[KEY]
    if sealed_json(values) != text:
        raise ValueError(ROTTEN)
    return values


def sealed_parquet(content: bytes) -> bytes:
    at = _footer(content)
    return content[:at] + MARK + _digest(content) + content[at:]


def check_parquet(content: bytes) -> None:
    """Raise ValueError if a byte of a sealed file has changed."""
    at = _footer(content)
    start = at - DIGEST - len(MARK)
    mark, digest = content[max(start, 0) : at - DIGEST], content[at - DIGEST : at]
    if mark != MARK:
        # The mark itself may have changed, or the footer's length, by which it is found.
        if _almost(mark, MARK) or MARK in content:
            raise ValueError(ROTTEN)
    elif _digest(content[:start] + content[at:]) != digest:
        raise ValueError(ROTTEN)


def _footer(content: bytes) -> int:
    """Where the footer of a Parquet file begins."""
    at = len(content) - len(MAGIC) - 4
    size = int.from_bytes(content[at : at + 4], "little")
    if not content.startswith(MAGIC) or not content.endswith(MAGIC) or not 0 < size < at:
        raise ValueError("it is no Parquet file")
    return at - size


def _almost(found: bytes, wanted: bytes) -> bool:
    """Whether all but one byte are the same."""
    return (
        len(found) == len(wanted) and sum(a != b for a, b in zip(found, wanted, strict=True)) == 1
    )


def _digest(content: bytes) -> bytes:
    import xxhash

    return xxhash.xxh3_128(content).digest()
