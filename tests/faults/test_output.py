"""H13, H14 and I5: what a file says about itself cannot act on whoever reads our output.

I1 to I4 are tests/stages/test_canaries.py: over 5000 canaries in every tag of the dictionary, private
and nested elements, NIfTI, MetaImage, NRRD, PNG and TIFF fields, file and folder names, through the
whole chain and its crashes, and tests/stages/test_scrub.py. Here are the ways they leave out.
"""

import csv
import html.parser
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data.files import write_csv
from medssl.errors import UserError, one_line
from medssl.progress import say, track
from medssl.stages import call
from tests.faults import good

FORMULAS = [
    '=HYPERLINK("http://x.example","y")', "=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1",
    " =1+1", "=cmd|' /C calc'!A0", "\N{FULLWIDTH EQUALS SIGN}1+1", "\n=1+1",
]  # fmt: skip
STARTS = "=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}"
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
HTML = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}",
    "</table><iframe src=//x>",
]
STEERING = ["\x1b]0;owned\x07", "\x1b[2J\x1b[31m", "a\nCONFIG forged: line", "\r\x1b[K", "\x9b31m",
            "\u202egnp.exe", "\u2028line", "\x00"]  # fmt: skip


def runs_in_a_spreadsheet(cell: str) -> bool:
    """Whether a cell may be taken as a formula; numbers may begin with a sign."""
    return cell.strip(" ")[:1] in tuple(STARTS) and not NUMBER.fullmatch(cell)


def bad_cells(folder: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted(folder.rglob("*.csv")):
        with open(path, newline="", encoding="utf-8") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        found += [(path.name, cell) for cell in cells if cell and runs_in_a_spreadsheet(cell)]
    return found


class Page(html.parser.HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.attributes = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs


def check_page(path: Path) -> None:
    """No script, nothing fetched, no handler, nothing evaluated by the template."""
    page = Page(path)
    assert not page.tags & {"script", "iframe", "object", "embed", "form", "base"}
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href") or value.startswith(("data:image/png", "data:,", "#"))
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text and "<svg/onload" not in text


@pytest.mark.parametrize("cell", FORMULAS)
@pytest.mark.parametrize("place", ["cell", "column"])
def test_h13_no_cell_is_a_formula(cell, place, tmp_path):
    table = pd.DataFrame({"id": [cell, "plain"]} if place == "cell" else {cell: ["a", "b"]})
    write_csv(tmp_path / "a.csv", table)
    assert bad_cells(tmp_path) == []


def test_h13_numbers_stay_numbers(tmp_path):
    table = pd.DataFrame({
        "f": [-1.5, 1e-9, np.nan], "i": [-1, 0, 2], "n": pd.array([-1, None, 2], "Int64"),
        "mixed": [-1.5, "=1", -2],
    })  # fmt: skip
    write_csv(tmp_path / "a.csv", table)
    back = pd.read_csv(tmp_path / "a.csv")
    assert np.array_equal(back["f"], table["f"], equal_nan=True) and list(back["i"]) == [-1, 0, 2]
    assert back["n"].tolist()[::2] == [-1, 2] and list(back["mixed"]) == ["-1.5", "'=1", "-2"]


def formula_scans(folder: Path) -> None:
    """Scans, labels and tags that begin as formulas do, and some that are refused."""
    (folder / "scans").mkdir()
    for i, start in enumerate(("=1+1", "-2", "+3", "@x", "\t=1")):
        good.nifti(folder / "scans", f"{start}.nii", good.voxels((20, 20, 20)) + i)
        (folder / "scans" / f"{start}.png").write_bytes(b"no image")
    for i, text in enumerate(FORMULAS[:5]):
        (folder / "scans" / f"s{i}").mkdir()
        good.ct(folder / "scans" / f"s{i}", SeriesDescription=text, PatientID=text, Modality=text,
                SeriesInstanceUID=f"1.2.{i}")  # fmt: skip
    rows = [{"path": f"scans/{start}.nii", "patient_id": start, "=finding": "=2+2", "score": -1.5}
            for start in ("=1+1", "-2", "+3", "@x")]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


@pytest.mark.parametrize("ids", ["auto", "names"])
def test_h13_every_table_that_is_written(ids, tmp_path):
    formula_scans(tmp_path)
    call("index", scans=tmp_path / "scans", labels=[tmp_path / "labels.csv"], ids=ids,
         modality="MR", out=tmp_path / "out" / "m")  # fmt: skip
    call("prepare", manifest=tmp_path / "out" / "m", out=tmp_path / "out" / "store")
    assert len(list((tmp_path / "out").rglob("*.csv"))) >= 2
    assert bad_cells(tmp_path / "out") == []
    assert "-1.5" in (tmp_path / "out" / "m" / "manifest.csv").read_text()


def html_scans(folder: Path, text: str) -> None:
    """A text as file name, tag, label and class, of used and of refused scans."""
    (folder / "scans").mkdir()
    name = text.replace("/", "_").replace("\0", "_")
    good.nifti(folder / "scans", f"{name}.nii", good.voxels((20, 20, 20)))
    (folder / "scans" / f"{name}.png").write_bytes(b"no image")
    (folder / "scans" / "d").mkdir()
    tag = text.replace("\0", "_")
    good.ct(folder / "scans" / "d", SeriesDescription=tag, PatientID=tag, ImageType=[tag, tag],
            Modality=tag[:16], ProtocolName=tag)  # fmt: skip
    (folder / "scans" / "e").mkdir()
    path = good.ct(folder / "scans" / "e", SeriesInstanceUID="1.9", RescaleSlope="1.2345")
    good.replace(path, b"1.2345", b"<b>x\x1b ")
    (folder / "labels.csv").write_text(f'path,finding\n"{name}.nii","{text}"\n', newline="")


@pytest.mark.parametrize("text", HTML)
@pytest.mark.parametrize("ids", ["auto", "names"])
def test_h14_no_page_holds_live_html(text, ids, tmp_path):
    html_scans(tmp_path, text)
    call("index", scans=tmp_path / "scans", ids=ids, modality="MR", out=tmp_path / "m")
    out = call("qc", manifest=tmp_path / "m", out=tmp_path / "qc")
    check_page(out / "qc.html")
    assert "49" not in re.findall(r">([^<]*)<", (out / "qc.html").read_text()), "it was evaluated"


@pytest.mark.parametrize("text", HTML)
def test_h14_reports_escape_every_word(text, tmp_path):
    from medssl.reports.html import Section, write

    section = Section(
        text, text, text, {text: text}, [(pd.DataFrame({text: [text]}), text)],
        figures=[(png(), text, text)], commands=[text],
    )  # fmt: skip
    check_page(write(tmp_path / "a.html", text, text, [section], text))


def png() -> bytes:
    from medssl.reports.figures import gallery
    from medssl.reports.style import as_png

    return as_png(gallery([np.zeros((4, 4))], ["x"], 1))


def steers(text: str) -> list[str]:
    """Control characters but the line's end."""
    return [c for c in text if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("text", STEERING)
def test_h14_messages_and_remarks_steer_no_terminal(text, capsys):
    say(f"remark: {text}")
    for word in (str(UserError("X", text, text, text)), one_line(ValueError(text))):
        assert not steers(word) and "\n" not in word
    told = capsys.readouterr().err
    assert not steers(told) and told.count("\n") == 1


@pytest.mark.parametrize("text", STEERING)
def test_h14_progress_steers_no_terminal(text, capsys, monkeypatch):
    from medssl import progress

    monkeypatch.setattr(progress, "QUIET_SECONDS", -100.0)
    list(track(range(3), f"read {text}", unit=text, note=lambda: text))
    told = capsys.readouterr().err
    assert told and not steers(told)
    assert all(line.startswith("read ") for line in told.splitlines())


@pytest.mark.parametrize("text", STEERING[:5])
@pytest.mark.parametrize("ids", ["auto", "names"])
def test_h14_no_verb_prints_what_steers(text, ids, tmp_path, capfd):
    html_scans(tmp_path, text)
    call("index", scans=tmp_path / "scans", ids=ids, modality="MR", out=tmp_path / "m")
    call("prepare", manifest=tmp_path / "m", out=tmp_path / "store")
    call("qc", manifest=tmp_path / "m", out=tmp_path / "qc")
    told = capfd.readouterr()
    assert not steers(told.err) and not steers(told.out)
    assert not re.search(r"^CONFIG forged", told.err + told.out, re.MULTILINE)
    for path in (tmp_path / "qc").glob("*.html"):
        assert not steers(path.read_text()), path


BURNED = {
    "I5-film": partial(good.film, BurnedInAnnotation="YES"),
    "I5-ct": partial(good.ct, BurnedInAnnotation="YES"),
    "I5-one-slice": partial(good.ct, odd=2, BurnedInAnnotation="YES"),
    "I5-lower-case": partial(good.film, BurnedInAnnotation="yes"),
}


@pytest.mark.parametrize("row", BURNED)
def test_i5_no_thumbnail_shows_text_that_is_said_to_be_burned_in(row, tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    BURNED[row](tmp_path / "scans")
    call("index", scans=tmp_path / "scans", out=tmp_path / "m")
    out = call("qc", manifest=tmp_path / "m", out=tmp_path / "qc")
    page = (out / "qc.html").read_text()
    assert "thumbnails of used scans" not in page
    assert (
        "burned into the pixels: 1 scans" in capsys.readouterr().err
        and "1 scans are not drawn" in page
    )


def test_i5_thumbnails_are_marked_and_can_be_left_out(tmp_path):
    (tmp_path / "scans").mkdir()
    good.film(tmp_path / "scans")
    call("index", scans=tmp_path / "scans", out=tmp_path / "m")
    page = (call("qc", manifest=tmp_path / "m", out=tmp_path / "a") / "qc.html").read_text()
    assert "thumbnails of used scans" in page and "burned into them" in page
    without = call("qc", manifest=tmp_path / "m", out=tmp_path / "b", thumbnails=0)
    assert "data:image" not in (without / "qc.html").read_text()
    assert json.loads((without / "findings.json").read_text())["n_used"] == 1
