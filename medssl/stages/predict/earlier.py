"""What lies in the folder already: of the same model, which goes on, or of another, which is kept.

What is found in a scan is noted as soon as it is found, a line a scan; the tables are made of these lines, so
that a command that was cut off ends in the same tables as one that was not.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from medssl.data.files import without_formulas, write_atomically, write_csv
from medssl.data.index import Row
from medssl.data.index.row import stamp
from medssl.errors import UserError
from medssl.stages.predict.rows import WRITTEN

NAMES, FOUND = Path("private/names.csv"), Path("private/found.jsonl")
NAMED = ["id", "path", "stamp", "weights"]
MASK_ENDINGS = (".nii.gz", ".png")


@dataclass
class Earlier:
    """What was found so far.

    names  which file every id stands for, as it was, and which model was asked: id, path, stamp, weights;
           for the owner's eyes, apart from what may be passed on
    asked  what else decides what is written of a scan
    found  by id its table and rows there, the file of its mask, if any, and what was asked
    done   ids of scans asked for that are not to be predicted again
    """

    names: pd.DataFrame
    asked: dict
    found: dict[str, dict] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def begin(self, out: Path) -> None:
        """Write what is known before the first scan."""
        (out / FOUND.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_csv(out / NAMES, self.names, private=True)
        for name in WRITTEN:  # which are made anew of what was found
            for path in (out / name, (out / name).with_suffix(".parquet")):
                path.unlink(missing_ok=True)
        text = "".join(map(_line, self.found.values()))
        write_atomically(out / FOUND, lambda path: path.write_text(text), private=True)

    def note(
        self, out: Path, id: str, table: str, rows: list[dict], mask: Path | None = None
    ) -> None:
        """Write what was found in a scan, and keep it."""
        entry = {
            "id": id,
            "table": table,
            "rows": rows,
            "mask": mask.name if mask else "",
            **self.asked,
        }
        with open(out / FOUND, "a") as stream:
            stream.write(_line(entry))
        self.found[id] = entry

    def table(self, name: str) -> pd.DataFrame:
        """All rows of one of the tables, those of scans predicted first at first."""
        entries = [entry for entry in self.found.values() if entry["table"] == name]
        return pd.DataFrame([{"id": e["id"], **row} for e in entries for row in e["rows"]])


def earlier(
    out: Path, rows: list[Row], weights: str, asked: dict, overwrite: bool = False
) -> Earlier:
    """What this model found before, in these scans or in others.

    Raises UserError EXISTS for predictions of another model, of other files than those of the same id now, or
    of the same files by other ids; with `overwrite` only for those that would stay beside the new ones.
    """
    names = names_of(rows, weights)
    before, found = _read(out)
    wanted = {row.id for row in rows if row.used}
    same = set() if overwrite else set(without_formulas(names).merge(before)["id"])
    found = {id: entry for id, entry in found.items() if not (overwrite and id in wanted)}
    renamed = before.merge(names[["path", "stamp"]])["id"]
    others = {*before["id"][before["weights"] != weights], *renamed} - {*names["id"]}
    there = [id for id in found if id in others | (wanted - same)]
    fix = "choose another out="
    if not overwrite:
        masks = {i for i in wanted - same if any((out / f"{i}{e}").exists() for e in MASK_ENDINGS)}
        there += sorted(masks - {*there})
        there += [name for name in WRITTEN if not found and (out / name).exists()]
        fix += ", or replace them with overwrite=true"
    if there:
        cause = f"holds {len(there)} earlier predictions ({', '.join(there[:3])})"
        raise UserError("EXISTS", out, f"{cause}, of another model or of other files", fix)
    # Without its mask a scan is predicted again; where there is none, `out` itself is there. So is one that
    # something else was asked of.
    found = {
        id: entry for id, entry in found.items()
        if (out / entry["mask"]).exists() and (id not in same or {**entry, **asked} == entry)
    }  # fmt: skip
    kept = before[before["id"].isin(found) & ~before["id"].isin(names["id"])]
    return Earlier(pd.concat([kept, names], ignore_index=True), asked, found, same & set(found))


def names_of(rows: list[Row], weights: str) -> pd.DataFrame:
    """`Earlier.names` of the scans that are asked for; paths from the root of the file system."""
    top = Path("/")
    found = [(r.id, f"/{r.record(top)['path']}", stamp(r.files), weights) for r in rows]
    return pd.DataFrame(found, columns=NAMED)


def _read(out: Path) -> tuple[pd.DataFrame, dict[str, dict]]:
    names, found = pd.DataFrame(columns=NAMED, dtype="str"), {}
    if (out / NAMES).is_file():
        names = pd.read_csv(out / NAMES, dtype="str", keep_default_na=False)
    if (out / FOUND).is_file():
        for line in (out / FOUND).read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # torn by a kill: that scan is predicted again
                continue
            found[entry["id"]] = entry
    return names, found


def _line(entry: dict) -> str:
    return json.dumps(entry, default=lambda value: value.item()) + "\n"
