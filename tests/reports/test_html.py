import re

import pandas as pd

from medssl.reports.figures import loss_curve
from medssl.reports.html import Section, write


def page(tmp_path, **options):
    section = Section("Results", **options)
    return write(tmp_path / "r.html", "Title", "Subtitle", [section]).read_text()


def test_everything_is_inside_and_nothing_is_fetched(tmp_path):
    curve = loss_curve([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}], ["loss"])
    text = page(tmp_path, figures=[(curve, "A curve.", "curve")])
    assert re.findall(r'(?:src|href)="([^"]{0,11})', text) == ["#s0", "data:image/"]
    assert "<script" not in text and "url(" not in text and "@import" not in text


def test_text_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    table = pd.DataFrame({evil: [evil]})
    text = page(tmp_path, text=evil, tables=[table], facts={evil: evil}, commands=[evil])
    assert "<script" not in text and text.count("&lt;script") == 6


def test_numbers_are_right_aligned_and_nan_is_said(tmp_path):
    text = page(
        tmp_path, tables=[pd.DataFrame({"name": ["a", "b"], "value": [0.12345, float("nan")]})]
    )
    assert '<td class="n">0.123</td>' in text and "not defined" in text and "<td>a</td>" in text
