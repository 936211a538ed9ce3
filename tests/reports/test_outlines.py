import numpy as np

from medssl.reports.outlines import coloured, outlined


def test_an_outline_is_as_wide_as_asked_and_closes_at_the_edge_of_the_picture():
    mask = np.zeros((256, 256), int)
    mask[:40, 100:140] = 7
    for width in (1, 2, 3):
        shown = np.asarray(outlined(coloured(mask, [7]), width=width).convert("RGBA"))[..., 3] > 0
        assert shown.sum() == 40**2 - (40 - 2 * width) ** 2 and not shown[mask == 0].any()
