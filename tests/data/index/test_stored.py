import gzip
import os
import zlib

import pytest

from medssl.data.index import checks
from medssl.data.index.stored import BLOCK, is_gzip, voxels
from medssl.errors import UserError

RAW = bytes(range(200))


@pytest.fixture
def file(tmp_path):
    def write(raw: bytes):
        (tmp_path / "a").write_bytes(raw)
        return tmp_path / "a"

    return write


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, None])
def test_bytes_come_out_as_they_went_in(file, pack):
    path = file(b"head" + (pack(RAW) if pack else RAW))
    assert voxels(path, 4, 200, pack is not None) == (bytearray(RAW), [])
    assert not is_gzip(path) and is_gzip(file(gzip.compress(b"")))


def test_what_is_odd_is_remarked(file):
    path = file(gzip.compress(RAW[:50]) + gzip.compress(RAW[50:]) + b"rest")
    raw, remarks = voxels(path, 0, 190, True)
    assert raw == RAW[:190]
    assert remarks == [
        "2 gzip members read as one", "10 bytes after the voxels ignored",
        "bytes after the packed stream ignored",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "expected", "code"),
    [
        (lambda packed: packed[:-9], 200, "CUT"),
        (lambda packed: packed, 201, "CUT"),
        (lambda packed: packed[:-6] + b"xx" + packed[-4:], 200, "UNREADABLE"),
        (lambda packed: gzip.compress(bytes(3000)), 200, "TOO_LARGE"),
    ],
)
def test_broken_streams_are_refused(file, monkeypatch, spoil, expected, code):
    monkeypatch.setattr(checks, "BOMB_BYTES", 2000)
    with pytest.raises(UserError, match=f"^{code}"):
        voxels(file(spoil(gzip.compress(RAW))), 0, expected, True)
    with pytest.raises(UserError, match="^CUT"):
        voxels(file(RAW), 0, 201, False)


@pytest.mark.parametrize("at", range(4))
def test_a_member_that_begins_at_the_end_of_a_block_is_read(tmp_path, at):
    rest = os.urandom(BLOCK // 2)
    noise = os.urandom(BLOCK)
    size = next(n for n in range(BLOCK - 200, BLOCK)
                if len(gzip.compress(noise[:n], 0)) == BLOCK - at)  # fmt: skip
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(noise[:size], 0) + gzip.compress(rest))
    found, remarks = voxels(path, 0, size + len(rest), True)
    assert bytes(found) == noise[:size] + rest and remarks == ["2 gzip members read as one"]
