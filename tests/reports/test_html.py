import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from medssl.reports.html import Section, write
from medssl.reports.style import as_png


def figure() -> Figure:
    out = Figure(figsize=(3, 1))
    out.add_subplot().plot([0, 1])
    return out


TABLE = pd.DataFrame(
    {
        "name": ["liver", "<b>spleen</b>"],
        "dice": [0.91234, np.nan],
        "change": [-0.5, 0.25],
        "n": [4, 5],
        "ok": [True, False],
    }
)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attributes]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path) -> str:
    sections = [
        Section(
            "Results <script>alert(1)</script>",
            text="First.\n\nSecond & <i>last</i>.",
            caution="Patients were <u>seen</u>.\n\nSo they were.",
            facts={"<em>fact</em>": "<img src=x>", "share": 0.12345, "n": 12, "none": None},
            tables=[(TABLE, "Scores <q>")],
            formats={"change": ".1f"},
            figures=[(figure(), "A figure <q>", 'alt "quoted"'), (as_png(figure()), "PNG", "b")],
        ),
        Section(
            "Commands", commands=["medssl evaluate a<b", "second"], figures=[(figure(), "", "")]
        ),
    ]
    path = write(tmp_path / "r.html", "Title <x>", "Subtitle", sections, footer="Cohort <1>.")
    return path.read_text(encoding="utf-8")


def test_all_text_is_escaped(page):
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert not {"script", "i", "u", "em", "q", "x", "iframe"} & set(reader.tags)
    assert reader.tags.count("img") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "a&lt;b" in page
    assert ("img", "alt", 'alt "quoted"') in reader.attributes


def test_what_stands_between_backticks_is_set_as_code(tmp_path):
    section = Section("A", "Run `a <b>` again.", caution="See `c`.", tables=[(TABLE, "By `d`")])
    page = write(tmp_path / "r.html", "T", "", [section]).read_text()
    assert "Run <code>a &lt;b&gt;</code> again." in page
    assert "See <code>c</code>." in page and "By <code>d</code>" in page


def test_nothing_is_fetched_and_nothing_runs(page):
    reader = Reader()
    reader.feed(page)
    for tag, name, value in reader.attributes:
        if name in ("src", "href", "action", "data", "srcset"):
            assert value.startswith(("data:", "#")), (tag, name, value[:40])
        assert not name.startswith("on")
    assert not re.search(r"https?://|@import|url\(", page)


def test_contents_lead_to_every_section(page):
    targets = set(re.findall(r'<section id="(\w+)"', page))
    assert targets == set(re.findall(r'<a href="#(\w+)"', page)) and len(targets) == 2


def test_numbers_are_right_aligned_and_formatted(page):
    row = re.findall(r"<tr>(.*?)</tr>", page)
    assert row[0].count('class="n"') == 3
    assert re.findall(r"<td( class=\"n\")?>(.*?)</td>", row[1]) == [
        ("", "liver"), (' class="n"', "0.912"), (' class="n"', "−0.5"), (' class="n"', "4"),
        ("", "True"),
    ]  # fmt: skip
    assert "not defined" in row[2]


def test_facts_captions_and_caution(page):
    assert "<dt>share</dt><dd>0.123</dd>" in page and "<dd>12</dd>" in page
    assert "<p><b>CAUTION</b> Patients were" in page and "<p>So they were.</p>" in page
    assert [int(n) for n in re.findall(r"<b>Figure (\d+)\.", page)] == [1, 2, 3]
    assert "<b>Table 1.</b> Scores" in page
    assert page.count("<p>") == 4


def test_tiles_stand_in_even_rows_and_intervals_are_kept_together(tmp_path):
    for tiles, columns in ((1, 3), (3, 3), (5, 5), (6, 3), (7, 4), (8, 4), (11, 4)):
        facts = {f"n{i}": i for i in range(tiles)}
        page = write(tmp_path / "r.html", "T", "S", [Section("A", facts=facts)]).read_text()
        assert f'style="--columns: {columns}"' in page
    facts = {
        "Dice": "0.514 (0.395 to 0.635)",
        "kinds": "CT, MR",
        "odd": "a (b) c",
        "hash": "f" * 16,
    }
    page = write(tmp_path / "r.html", "T", "S", [Section("A", facts=facts)]).read_text()
    assert "<dd>0.514 <small>(0.395 to 0.635)</small></dd>" in page
    assert "<dd>CT, MR</dd>" in page and "<dd>a (b) c</dd>" in page
    assert f'<dd class="long">{"f" * 16}</dd>' in page and "\n.long" not in page


def test_figures_are_set_at_their_drawn_size(page):
    widths = [int(w) for w in re.findall(r'<img [^>]*width="(\d+)"', page)]
    assert all(250 < w < 330 for w in widths)  # 3 inches at 100 pixels, trimmed


def test_reads_on_phone_dark_and_paper(page):
    assert "width=device-width" in page
    for query in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem"):
        assert query in page


def test_on_a_phone_wide_figures_are_moved_along_and_not_shrunk_until_nothing_can_be_read(page):
    phone = page[page.index("@media (max-width: 40rem)") :]
    assert ".pan { overflow-x: auto; }" in phone and "min-width: min(var(--wide), 36rem)" in phone
    widths = re.findall(r'<img [^>]*width="(\d+)" style="--wide: (\d+)px"', page)
    assert widths and all(a == b for a, b in widths)
    assert len(widths) == page.count('class="pan" tabindex="0"') == page.count("<img ")


def test_same_input_same_bytes(tmp_path):
    pages = [
        write(tmp_path / n, "T", "S", [Section("A", figures=[(figure(), "c", "a")])]).read_bytes()
        for n in ("a.html", "b.html")
    ]
    assert pages[0] == pages[1]
