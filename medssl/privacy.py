"""Text that is meant to leave the building: what could tell who a patient is, taken out of it.

Two rules of different strength. Names that come with the scans (files, folders) are kept only if
every piece of them is on a list of neutral words: `is_neutral`. Other text is searched for the forms
that identities take (paths, UIDs, dates, person names, addresses): `findings`, `scrub`.

What is meant to be shared: model/, evaluation/, probe/, pictures/ and metrics.jsonl of a run, and
predictions. What stays local, readable by its owner only: `LOCAL`, which hold paths.
"""

import re
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

LOCAL = frozenset(
    [
        "manifest.parquet",
        "manifest.csv",
        "quarantine.csv",
        "qc.html",
        "findings.json",
        "config.json",
        "store.json",
        "private",
        "archive",
        "checkpoints",
        "capture",
        "read",
        "jobs",
        ".lock",
    ]
)
PSEUDONYM = re.compile(r"(?<![^\W_])(?:p|s|st)-[0-9a-f]{10}(?![^\W_])")
OF_CODE = (NameError, AttributeError, ImportError)  # these quote names of code, not of scans
LONGEST_REPORT = 200
LONGEST_NUMBER, MOST_DIGITS, MOST_LETTERS = 5, 8, 2
MOST_CLASSES, LONGEST_CLASS = 8, 6
COUNTING = "abcxyz"  # letters that are no initials
_NEUTRAL = """
abdomen abdominal abus acdc adc amos aorta apical arterial atlas axial b0 bad baseline big bladder
body bold bone bowel box boxes brain brats breast broken bs btcv c0 calib card cardiac case cases
cat cerebellum chaos chest chexpert coarse cohort colon contrast control copy cor coronal cortex
csv ct cta ctp cut cxr data dce dce1 dcm delayed demo derivatives dicom dose double draw drr dti
duplicate dwi dx early edema empty enhanced epi esophagus evaluation exam example export extra
femur fetal file files film films fine first flair fmri fold follow followup frame frontal func
gallbladder gland gli good ground gt gz half hd hdr head healthy heart hepaticvessel hip
hippocampus huge idri im image images imagestr imagests img input inputs ints ircadb isles item
items ixi jpeg jpg json kidney kidneys kits knee la label labeled labels labelstr labelsts large
last lat late lateral left lesion lidc lits liver luna lung lungs manifest mask masks med metrics
mg mha mhd mixed mni modality mr mra mri mrs msd ncct ne neck new next nib nifti nii nlst nodule
nodules noise none normal notes nrrd odd old one only organ orig original other out outer output pa
page pair pancreas part patient patients pelvic pelvis perf pet phantom phase pial pict pl plain
png pool portal post pre pred prediction predictions prepared prostate pt public quick raw readme
real rec ref refused relabelled renal renamed report resampled rest right run runs sag sagittal
sample samples scan scans scores scout sec seg segmentation sequence series ses session sessions
set sheared shifted sir site skull slice slices small source spine spleen stack std stomach store
study sub subj subject subjects sweep swi synthetic t1 t1c t1ce t1gd t1n t1w t2 t2f t2w t3 task
template test testing text thick thin thorax thyroid tif tiff time tiny torso totalsegmentator
train training trials tumor tumour turned two txt uncut unlabeled unlabelled us val valid
validation vein venous vertebra vertebrae vessel view visit vol volume volumes wb weight weights
whole worm wrist wrong xray xrays zero
"""
NEUTRAL = frozenset(_NEUTRAL.split())
_IMAGE = r"(?:nii(?:\.gz)?|dcm|dicom|ima|mha|mhd|nrrd|nhdr|hdr|img|png|jpe?g|tiff?|csv|parquet)"
_MONTH, _DAY = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:18|19|20)\d\d"
# In this order: a UID holds dates, a path holds names.
RULES: dict[str, re.Pattern[str]] = {
    "uid": re.compile(r"(?<![\w.])[0-2](?:\.\d+){5,}(?!\w)"),
    "e-mail": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "path": re.compile(
        r"(?:(?<![\w.~:/<\\)\]])/|~/|(?<!\w)[A-Za-z]:[\\/]|\\\\|file:/+)"
        r"(?:[^/\\\n\"'<>|{}]+[/\\])+[^\s\"'<>|:;,{}]*"
    ),
    "file": re.compile(rf"[^\s\"'<>|:;,=(){{}}\[\]]+\.{_IMAGE}(?!\w)", re.IGNORECASE),
    "person": re.compile(r"[^\W\d_][\w'-]*(?: [^\W\d_][\w'-]*)?\^+[^\W\d_][\w'^ -]*"),
    "identity": re.compile(
        r"(?i)(?:patient'?s?|subject|physician'?s?)[ _-]?(?:name|id|birth ?date)\s*(?:is|[:=])\s*"
        r"[^\s,;]+"
    ),
    "date": re.compile(
        rf"(?<![\w.]){_YEAR}(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|([-/.]){_MONTH}\1{_DAY})"
        rf"(?![^\W_])|(?<![\w.])(?:{_DAY}([-/.]){_MONTH}|{_MONTH}([-/.]){_DAY})(?:\2|\3){_YEAR}(?!\w)"
    ),
}


def printable(text: str) -> str:
    """One line without control characters: nothing that steers a terminal or forges a log line."""
    return "".join(c if c.isprintable() else " " for c in text)


def is_neutral(name: str) -> bool:
    """Whether a file or folder name can tell nobody who a patient is.

    Neutral are salted ids, listed words, words and single letters with a number behind them, and
    one number alone, none longer than five digits (`case_00012`, `sub-03_ses-1_T1w`). All else,
    such as unknown words, dates and long numbers, may be a person.
    """
    rest = PSEUDONYM.sub("", name)
    if not re.fullmatch(r"[A-Za-z0-9 ._-]*", rest):
        return False
    pieces = [p for p in re.split(r"[ ._-]+", rest.lower()) if p]
    bare = digits = letters = 0
    initials = ""
    behind_word = False
    for piece in pieces:
        if piece in NEUTRAL:
            behind_word = True
            continue
        word, number = re.fullmatch(r"([a-z]*)(.*)", piece).groups()
        if not re.fullmatch(rf"\d{{0,{LONGEST_NUMBER}}}", number):
            return False
        if len(word) == 1:
            letters += 1
            initials += "" if number else word
        elif word and word not in NEUTRAL:
            return False
        bare += not word and not behind_word
        digits += len(number)
        behind_word = bool(word and not number)
    if initials and (digits or (len(initials) > 1 and set(initials) - set(COUNTING))):
        return False
    return bare <= 1 and letters <= MOST_LETTERS and digits <= MOST_DIGITS


def is_free_text(values: Iterable[str]) -> bool:
    """Whether the words of a label column are remarks, which may name people, and no classes.

    That is if most of more than eight different ones stand there once, or one has over six words.
    """
    given = [value for value in values if value]
    most = max((len(value.split()) for value in given), default=0)
    different = len(set(given))
    return most > LONGEST_CLASS or (different > MOST_CLASSES and 2 * different > len(given))


def quoted(value: object, limit: int = 60) -> str:
    """A header's value for a message: numbers as they stand, of text only its length."""
    text = str(value)
    if re.fullmatch(r"[\d\s.,+\-\[\]()eE'\\]*", text) and not RULES["date"].search(text):
        return text[:limit]
    return f"text of {len(text)} characters"


def findings(text: str, words: Iterable[str] = (), but: str = "") -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of everything in a text that could tell who a patient is, in order.

    `words` are known names; they count in any case. Findings that overlap come as one; one kind may
    be left out (`but`).
    """
    spelt = {spelling for word in words for spelling in spellings(word)}
    known = [re.escape(w) for w in sorted(spelt, key=len, reverse=True) if w]
    rules = {kind: rule for kind, rule in RULES.items() if kind != but}
    if known:
        rules["word"] = re.compile("|".join(known), re.IGNORECASE)
    own = Path.home().name
    if len(own) > 2 and own != "root":
        rules["user"] = re.compile(rf"(?<!\w){re.escape(own)}(?!\w)")
    found = []
    for rank, (kind, rule) in enumerate(rules.items()):
        for match in rule.finditer(text):
            if not (kind == "file" and _neutral_file(match.group())):
                found.append((match.start(), rank, match.end(), kind))
    merged: list[tuple[int, int, str]] = []
    for start, _, end, kind in sorted(found):
        if merged and start < merged[-1][1]:
            first, last, known_as = merged[-1]
            merged[-1] = (first, max(last, end), known_as)
        else:
            merged.append((start, end, kind))
    yield from merged


def spellings(word: str) -> set[str]:
    """A word as systems may write it: an accent as a character of its own or not, and sharp s as SS."""
    if word.isascii():
        return {word}
    cases = {word, word.upper()} if word.upper().lower() != word.lower() else {word}
    return {unicodedata.normalize(form, each) for each in cases for form in ("NFC", "NFD")} | cases


def scrub(text: str, words: Iterable[str] = (), but: str = "") -> str:
    """The text with every finding `but` of one kind replaced by its kind in angle brackets."""
    out, at = [], 0
    for start, end, kind in findings(text, words, but):
        out += [text[at:start], f"<{kind}>"]
        at = end
    return "".join([*out, text[at:]])


def scrub_names(text: str, paths: Iterable[Path | str]) -> str:
    """The text scrubbed, and free of every piece of these paths that is not neutral."""
    pieces = {p for path in paths for p in Path(path).parts if p.strip("/\\. ")}
    pieces |= {part for p in pieces for part in p.split(".")}
    return scrub(text, {p for p in pieces if len(p) > 2 and not is_neutral(p)})


def without_quotes(text: str) -> str:
    """The text without what it quotes."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "<text>", text)


def error_report(error: BaseException, words: Iterable[str]) -> tuple[str, str]:
    """An exception to be passed on: its type and text in one line, and where in medssl it was raised.

    Quoted text and what stood on the command line (`words`) are taken out of it.
    """
    text = " ".join(printable(f"{error}").split())
    if not isinstance(error, OF_CODE):
        text = without_quotes(text)
    text = scrub_names(text, [word.partition("=")[2] or word for word in words])
    package, place = Path(__file__).parent, ""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_relative_to(package):
            place = f"{Path(frame.filename).relative_to(package).as_posix()}, line {frame.lineno}"
    return f"{type(error).__name__}: {text[:LONGEST_REPORT]}", place  # cut last: half a name is one


def _neutral_file(name: str) -> bool:
    return all(is_neutral(part) for part in re.split(r"[/\\]", name))
