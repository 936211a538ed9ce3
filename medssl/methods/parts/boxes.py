"""What a loader reads for methods that compare views of boxes."""

from medssl.data.crops import CropSpec
from medssl.errors import UserError

AT_LEAST = 2


def boxes(
    size: tuple[int, ...], read: list[int] | None, whole: bool, order: float = 0.0, parts: int = 0
) -> CropSpec:
    """Boxes of `read` voxels (none: `size`), from which random resized crops of `size` are cut.

    With order > 0, `parts` boxes of each scan, from as many partitions of its slice axis.
    Raises UserError.
    """
    box = size if read is None else tuple(int(n) for n in read)
    if len(box) != len(size):
        raise UserError(
            "CONFIG", "method.read", f"has {len(box)} values, method.size has {len(size)}",
            f"give {len(size)} values, or none to read boxes of method.size",
        )  # fmt: skip
    if any(b < s for b, s in zip(box, size, strict=True)):
        raise UserError(
            "CONFIG", "method.read", f"{list(box)} is smaller than method.size {list(size)}",
            "read boxes of method.size or larger",
        )  # fmt: skip
    if order < 0:
        raise UserError("CONFIG", "method.order", f"found {order}, a weight", "use 0 or more")
    if order == 0:
        return CropSpec(box, whole=whole)
    if parts < AT_LEAST or whole:
        raise UserError(
            "CONFIG", "method.parts" if parts < AT_LEAST else "method.whole",
            "order > 0 compares several boxes of a scan, "
            + (f"but {parts} is read" if parts < AT_LEAST else "but whole scans are not boxes"),
            f"use parts={AT_LEAST} or more and whole=false, or order=0",
        )  # fmt: skip
    return CropSpec(box, parts=parts)


def checked_share(crop, what: str = "method.crop") -> tuple[float, float]:
    """`crop` as the least and greatest share of a box that a view keeps, above 0, at most 1."""
    crop = tuple(float(share) for share in crop)
    if len(crop) != 2 or not 0 < crop[0] <= crop[1] <= 1:
        raise UserError(
            "CONFIG", what, f"found {list(crop)}, expected a least and a greatest share",
            f"e.g. {what}=0.3,1",
        )  # fmt: skip
    return crop
