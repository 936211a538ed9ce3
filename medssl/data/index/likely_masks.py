"""Files that would count as scans, but by name and header are most likely masks of others."""

from collections import defaultdict

from medssl.data.index.ids import MASK_ENDING, beginnings, stem
from medssl.data.index.row import MAY_BE_MASK, Row


def doubt_masks(rows: list[Row]) -> None:
    """A remark on every used file that has another's name with more behind it, and its grid.

    It must hold whole numbers as its header says, or be called a mask (`MASK_ENDING`): films, which
    are in whole numbers and of no known place all, need the latter. Voxels are not read, so that
    masks kept as fractions under other names are not told. DICOM says by itself what is a mask.
    """
    grids, named = defaultdict(set), defaultdict(list)
    for row in rows:
        if row.used and row.format != "dicom":
            name = stem(row.files[0].name)
            named[name].append(row)
            grids[name].add((row.shape, row.place))
    for name, found in named.items():
        scans = set().union(*(grids[begun] for begun in beginnings(name) if begun in named))
        called = bool(MASK_ENDING.search(name))
        for row in found:
            if (called or row.whole) and (row.shape, row.place) in scans:
                row.remarks.append(
                    f"{MAY_BE_MASK}: it has another scan's name with more behind it, and its grid"
                )
