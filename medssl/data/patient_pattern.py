"""Patients by the paths of their scans: a regular expression whose first group is the patient."""

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from medssl.data.index.ids import beginnings, stem
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.errors import UserError

GENERAL = "'patient_pattern=([^/_]+)_[^/]*$' takes sub7 of sub7_T1.nii.gz"


def compiled(text: str) -> re.Pattern:
    """Raises UserError CONFIG for what is no regular expression, or has no group."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        cause = f"is no regular expression ({error})"
        raise UserError("CONFIG", f"patient_pattern={text}", cause, "correct it") from error
    if not pattern.groups:
        cause = "has no group in parentheses"
        raise UserError("CONFIG", f"patient_pattern={text}", cause, "for example '(p[0-9]+)_'")
    return pattern


def name_patients(manifest: Manifest, pattern: re.Pattern) -> None:
    """Write the patients of used scans, under salted ids, and note how many paths do not match."""
    unnamed = 0
    for index, row in manifest.used.iterrows():
        found = pattern.search(row["path"])
        if found and found.group(1):
            manifest.table.at[index, "patient"] = pseudonym(found.group(1), "p")
        else:
            unnamed += 1
    if unnamed:
        manifest.notes.append(f"patient_pattern: {unnamed} used scans do not match it")


def example(paths: Sequence[str]) -> str:
    """A `patient_pattern=` for paths like these, and what it makes of them.

    It reads what a folder or a file's name begins with, up to and with its first number. Of several
    such that fit every path it is the one that parts them into most patients, but not all of them.
    """
    tried = []
    for part in (*PurePosixPath(paths[0]).parts[:-1], stem(PurePosixPath(paths[0]).name)):
        numbered = [name for name in (part, *beginnings(part)) if re.search(r"\d", name)]
        if numbered:
            shortest = numbered[-1]
            text = f"({re.sub(r'[0-9]+', '[0-9]+', re.escape(shortest))})"
            found = [re.search(text, path) for path in paths]
            if all(found):
                patients = len({match.group(1) for match in found})
                tried.append((patients < len(paths), patients, text, shortest))
    if not tried:
        return GENERAL
    _, patients, text, shortest = max(tried)
    word = shlex.quote(f"patient_pattern={text}")
    made = (
        f"{patients} patients" if patients > 1 else "all of them one patient: is it a date, a site?"
    )
    return f"{word} takes {shortest} of {paths[0]}, which makes {made}"
