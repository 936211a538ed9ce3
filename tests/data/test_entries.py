import numpy as np

from medssl.data.entries import _points, entry_key, fingerprint
from medssl.data.recipe import Recipe
from tests.data.test_store import make


def test_key_follows_bytes_and_recipe(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    first = entry_key([fingerprint([file])], Recipe())
    assert first == entry_key([fingerprint([file])], Recipe())
    assert first != entry_key([fingerprint([file])], Recipe(spacing=[1, 1, 1]))
    file.write_bytes(b"2")
    assert entry_key([fingerprint([file])], Recipe()) != first


def test_a_half_written_entry_is_not_there(tmp_path):
    store = make(tmp_path / "s", [(8, 8, 8)])
    assert store.entries.has("key0", mask=True)
    (tmp_path / "s/arrays/key0.image.b2nd").unlink()
    assert not store.entries.has("key0", mask=True)
    store = make(tmp_path / "t", [(8, 8, 8)])
    (tmp_path / "t/arrays/key0.json").unlink()
    assert not store.entries.has("key0", mask=True)
    assert not list((tmp_path / "s").rglob(".*"))


def test_an_array_that_changed_by_a_byte_is_no_entry(tmp_path):
    store = make(tmp_path, [(8, 9, 10)])
    path = tmp_path / "arrays/key0.image.b2nd"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert not store.entries.has("key0", mask=True)


def test_foreground_points_reach_over_the_whole_structure(tmp_path):
    mask = np.zeros((20, 10, 15), np.uint8)
    mask[:, 2:9, 3:13] = 1  # 1400 voxels
    assert set(_points(mask)[:, 1]) == set(range(20))
    assert len(np.unique(_points(mask), axis=0)) == 1000
