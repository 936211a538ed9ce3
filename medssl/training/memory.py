"""Running out of memory, told in the words of the keys that decide how much is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medssl.errors import UserError, one_line, out_of_memory

SHOWN = 160  # characters of what the allocator says


class Sized:
    """Batches as they come; `shape` is that of the last one's images, () before the first."""

    def __init__(self, batches: Callable[[int, int], Iterator[dict]]):
        self.batches, self.shape = batches, ()

    def __call__(self, first: int, last: int) -> Iterator[dict]:
        for batch in self.batches(first, last):
            self.shape = tuple(batch["image"].shape)
            yield batch


@contextmanager
def told(batches: Sized, fit) -> Iterator[None]:
    """Raise UserError MEMORY in place of what torch and NumPy raise when there is none left."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        n, *crop = batches.shape or (fit.batch_size,)
        size = f", each {'x'.join(map(str, crop))}" if crop else ""
        said = one_line(error, SHOWN).partition(". GPU")[0]
        raise UserError(
            "MEMORY", f"fit.batch_size={fit.batch_size}",
            f"memory ran out with {n} samples at once{size} (channels, then voxels) and "
            f"fit.precision={fit.precision}: {said}",
            "lower fit.batch_size and raise fit.accumulate as much, or lower method.size or task.size; "
            "what was saved before is good, and `medssl plan` says how much a command takes",
        ) from error  # fmt: skip
