import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from medssl.data.cleaning import clean
from medssl.data.traces import FREE, HIDDEN, traces
from medssl.reports.style import as_png
from tests.stages import canaries as plant


@pytest.fixture
def planted(tmp_path):
    """Files of every format that carry words, and the words."""
    words = plant.Canaries()
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    plant.nifti(tmp_path / "v.nii.gz", words, array)
    two = nib.Nifti2Image(array, np.eye(4))
    two.header["descrip"] = words.text()
    nib.save(two, tmp_path / "w.nii")
    for name in ("a.png", "b.jpg", "c.tif"):
        plant.picture(tmp_path / name, words, array[0].astype(np.uint8))
    save_file({"w": torch.ones(3)}, tmp_path / "w.safetensors", {"about": words.text()})
    return tmp_path, words


def test_hidden_text_is_found_and_cleaned_away(planted):
    folder, words = planted
    seen = set()
    for path in sorted(p for p in folder.iterdir() if p.suffix not in (".jpg", ".tif")):
        found = [(text, kind) for _, text, kind in traces(path)]
        assert any(kind == HIDDEN for _, kind in found), path.name
        seen |= {w for w in words.words for text, _ in found if w in text}
        target = folder / "clean" / path.name
        target.parent.mkdir(exist_ok=True)
        clean(path, target)
        assert not [text for _, text, kind in traces(target) if kind == HIDDEN], path.name
    assert len(seen) > 10
    for name in ("v.nii.gz", "w.nii"):
        old, new = nib.load(folder / name), nib.load(folder / "clean" / name)
        assert np.array_equal(old.get_fdata(), new.get_fdata())
        assert np.array_equal(old.affine, new.affine) and not len(new.header.extensions)
    assert Image.open(folder / "clean/a.png").tobytes() == Image.open(folder / "a.png").tobytes()


@pytest.mark.parametrize("name", ["b.jpg", "c.tif"])
def test_pictures_of_other_formats_are_told(planted, name):
    folder, words = planted
    told = " ".join(text for _, text, kind in traces(folder / name) if kind == HIDDEN)
    assert sum(word in told for word in words.words) >= 5


def test_places_are_named(tmp_path):
    (tmp_path / "a.json").write_text('{"x": {"y": ["1", "\\u0044OE"]}}')
    (tmp_path / "t.csv").write_text("id,who\n1,DOE\n")
    pd.DataFrame({"who": ["", "DOE"]}).to_parquet(tmp_path / "t.parquet")
    (tmp_path / "p.html").write_text('<img src="data:image/png;base64,AAAA"/>\n<b>DOE</b>')
    places = {p.name: {place: text for place, text, _ in traces(p)} for p in tmp_path.iterdir()}
    assert places["a.json"]["x.y[1]"] == "DOE"
    assert places["t.csv"]["line 2"] == "1,DOE"
    assert places["t.parquet"]["column who, row 1"] == "DOE"
    assert places["p.html"]["line 2"] == "<b>DOE</b>" and "AAAA" not in places["p.html"]["line 1"]


def test_a_damaged_file_is_told_and_our_own_pictures_are_clean(tmp_path):
    from matplotlib.figure import Figure

    (tmp_path / "x.png").write_bytes(b"no picture")
    assert [kind for *_, kind in traces(tmp_path / "x.png")] == ["unreadable"]
    (tmp_path / "y.png").write_bytes(as_png(Figure()))
    assert list(traces(tmp_path / "y.png")) == []


def test_free_text_in_label_columns_is_found_and_cleaned_away(tmp_path):
    notes = [f"seen by Doe {n}" for n in range(12)]
    labels = ["normal", "mass", None] * 4
    table = pd.DataFrame({"label_note": notes, "label_kind": labels, "id": notes})
    table.to_parquet(tmp_path / "items.parquet")
    found = [place for place, _, kind in traces(tmp_path / "items.parquet") if kind == FREE]
    assert found == ["column label_note"]
    clean(tmp_path / "items.parquet", tmp_path / "clean.parquet")
    cleaned = pd.read_parquet(tmp_path / "clean.parquet")
    assert cleaned["label_note"].isna().all()
    assert cleaned["label_kind"].dropna().tolist() == ["normal", "mass"] * 4
    assert FREE not in [kind for *_, kind in traces(tmp_path / "clean.parquet")]
