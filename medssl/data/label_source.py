"""What one source of labels says of the scans of a manifest."""

from dataclasses import dataclass, field


@dataclass
class Found:
    """What one source of labels says: values by column and manifest row, and files that are masks.

    `scans` are the manifest rows it speaks of, `lost` its entries that match none, `guessed` masks
    and scans that only share the beginning of their names.
    """

    entries: str
    values: dict[str, dict[int, object]] = field(default_factory=dict)
    masks: dict[str, int | None] = field(default_factory=dict)
    scans: set[int] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    guessed: list[tuple[str, str]] = field(default_factory=list)

    def put(self, column: str, row: int, value: object) -> None:
        self.values.setdefault(column, {})[row] = value
