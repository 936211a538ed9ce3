import json

import pandas as pd
import pytest

from medssl.data.cleaning import clean
from medssl.data.traces import traces
from medssl.errors import UserError


def test_text_is_scrubbed_and_pictures_in_pages_are_kept(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    (old / "a.json").write_text(
        json.dumps({"out": "/data/DOE/x", "n": 1.5, "list": ["DOE^J", None]})
    )
    picture = "base64,AAAA/BBBB/CCCC+19500101/DOE"
    (old / "p.html").write_text(f'<img src="data:image/png;{picture}"/>\n<p>seen 1950-01-02</p>\n')
    pd.DataFrame({"id": ["case_1", "MUELLER"], "dice": [0.5, 1]}).to_parquet(old / "c.parquet")
    (old / "other.bin").write_bytes(b"\0\1")
    for path in old.iterdir():
        clean(path, new / path.name, {"mueller"})
    assert json.loads((new / "a.json").read_text()) == {
        "out": "<path>",
        "n": 1.5,
        "list": ["<person>", None],
    }
    assert (
        picture in (new / "p.html").read_text()
        and "<p>seen <date></p>" in (new / "p.html").read_text()
    )
    table = pd.read_parquet(new / "c.parquet")
    assert table["id"].tolist() == ["case_1", "<word>"] and table["dice"].tolist() == [0.5, 1]
    assert (new / "other.bin").read_bytes() == b"\0\1"


def test_names_that_scrubbing_makes_alike_lose_nothing(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"doe_1.nii.gz": 1, "roe_2.nii.gz": 2}))
    clean(tmp_path / "a.json", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == {"<file>": 1, "<file> 2": 2}
    pd.DataFrame({"doe_1.nii.gz": [1], "roe_2.nii.gz": [2]}).to_parquet(tmp_path / "a.parquet")
    clean(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert list(pd.read_parquet(tmp_path / "b.parquet")) == ["<file>", "<file> 2"]


def test_a_file_under_a_false_name_is_copied_or_refused_but_never_spoilt(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    clean(tmp_path / "photo.png", tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == b"\xff\xd8\xff\xe0 a JPEG"
    for name, raw in {"x.json": b"{", "x.csv": b"\xff\xfe\xfa", "x.nii": b"none",
                      "x.safetensors": b"\xff" * 20, "x.parquet": b"none"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UserError, match=f"SCRUB {name}: is not what its name says"):
            clean(tmp_path / name, tmp_path / "copy")
        if name != "x.csv":
            assert [kind for *_, kind in traces(tmp_path / name)] == ["unreadable"]
