import json

import pandas as pd

from medssl.data.cleaning import clean


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
