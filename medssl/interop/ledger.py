"""The ledger: what became of every parameter of a network, and of every tensor of a file."""

from collections import Counter
from dataclasses import dataclass, field

import pandas as pd

COLUMNS = ("weight", "status", "how", "in_file", "shape_in_file", "shape", "parameters")
FILLED = ("loaded", "adapted")
SHOWN = 3


@dataclass
class Ledger:
    """A row a tensor, in the network's order; what the file has beside it comes last.

    status  loaded (as it was), adapted (how: by which rule), missing (it keeps its first random
            value) and skipped (how: why; it is in the file, and not taken)
    """

    rows: list[dict] = field(default_factory=list)

    def add(self, status, *, weight="", in_file="", how="", shape=(), before=(), n=0) -> None:
        self.rows.append(
            {
                "weight": weight, "status": status, "how": how, "in_file": in_file,
                "shape_in_file": _shape(before), "shape": _shape(shape), "parameters": int(n),
            }
        )  # fmt: skip

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(COLUMNS))

    def count(self, *status: str) -> int:
        """Parameters of these kinds."""
        return sum(row["parameters"] for row in self.rows if row["status"] in status)

    @property
    def share(self) -> float:
        """Of the network's parameters, how many the file filled."""
        wanted = self.count(*FILLED, "missing")
        return self.count(*FILLED) / wanted if wanted else 0.0

    @property
    def summary(self) -> dict:
        """What a card keeps of it."""
        kinds = (*FILLED, "missing", "skipped")
        rules = Counter()
        for row in self.rows:
            if row["status"] == "adapted":
                rules[row["how"]] += row["parameters"]
        return {
            **{kind: self.count(kind) for kind in kinds}, "share": round(self.share, 6),
            "rules": dict(rules),
        }  # fmt: skip

    def __str__(self) -> str:
        """A line a kind and reason, with parameters, shares of the network, and the first names."""
        wanted = max(self.count(*FILLED, "missing"), 1)
        lines = []
        for status in (*FILLED, "missing", "skipped"):
            rows = [row for row in self.rows if row["status"] == status]
            for how in dict.fromkeys(row["how"] for row in rows):
                some = [row for row in rows if row["how"] == how]
                n = sum(row["parameters"] for row in some)
                part = f"{n / wanted:7.2%}" if status != "skipped" else " " * 7
                names = [row["in_file" if status == "skipped" else "weight"] for row in some]
                shown = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
                words = f": {how}" if how else ""
                lines.append(
                    f"{status:<8}{part} {n:>12,} in {len(some):>4} tensors{words} ({shown})"
                )
        return "\n".join(lines)


def _shape(sizes) -> str:
    return "x".join(map(str, sizes))
