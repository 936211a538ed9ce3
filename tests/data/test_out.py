import json
from types import SimpleNamespace

import pytest

from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.out import check_out, scans_behind
from medssl.errors import UserError
from tests.faults import good


@pytest.fixture
def folders(tmp_path):
    """Scans, their manifest, what marks a store and a run of it, and a dataset."""
    for name in ("scans", "store/arrays", "run/model", "dataset", "imported"):
        (tmp_path / name).mkdir(parents=True)
    good.nifti(tmp_path / "scans", "a.nii")
    Manifest.from_rows(tmp_path / "scans", scan(tmp_path / "scans")).write(tmp_path / "manifest")
    about = {"format": 8, "manifest": "../manifest", "recipe": {}}
    (tmp_path / "store/store.json").write_text(json.dumps(about))
    (tmp_path / "run/config.json").write_text(json.dumps({"store": str(tmp_path / "store")}))
    (tmp_path / "run/model/card.json").write_text("{}")
    (tmp_path / "imported/ledger.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("way", ["manifest", "manifest/manifest.parquet", "store", "run"])
def test_scans_are_found_behind_whatever_was_made_of_them(folders, way):
    assert list(scans_behind(folders / way)) == [folders / "scans"]


def test_what_is_no_longer_there_leads_nowhere_and_a_dataset_is_its_own_scans(folders):
    (folders / "dataset/config.json").write_text('["of something else"]')
    assert list(scans_behind(folders / "dataset", dataset=True)) == [folders / "dataset"]
    assert list(scans_behind(folders / "dataset")) == []
    assert list(scans_behind(folders / "gone", dataset=True)) == []
    (folders / "manifest").rename(folders / "elsewhere")
    assert list(scans_behind(folders / "store")) == []


@pytest.mark.parametrize(
    ("verb", "keys", "out", "said"),
    [
        ("finetune", {"store": "store"}, "scans/run", "among the scans"),
        ("finetune", {"store": "store"}, "scans", "among the scans"),
        ("finetune", {"store": "store"}, "store/run", "lies inside the store"),
        ("finetune", {"store": "store"}, "store", "is the folder of a store"),
        ("finetune", {"store": "gone"}, "store/arrays/deep/run", "lies inside the store"),
        ("evaluate", {"run": "run"}, "scans/evaluation", "among the scans"),
        ("evaluate", {"run": "run"}, "run", "is the folder of a run"),
        ("evaluate", {"run": "run"}, "run/evaluation", ""),
        ("probe", {"run": "run/model"}, "run/model/probe", ""),
        ("pretrain", {"store": "store"}, "imported", "is the folder of imported weights"),
        ("prepare", {"manifest": "manifest"}, "store", ""),
        ("prepare", {"manifest": "manifest"}, "store/other", "lies inside the store"),
        ("prepare", {"manifest": "manifest"}, "manifest/store", ""),
        ("prepare", {"manifest": "manifest"}, "run", "is the folder of a run"),
        ("convert", {"source": "dataset"}, "dataset/m", "among the scans"),
        ("predict", {"scans": "scans/a.nii"}, "scans", "among the scans"),
        ("predict", {"scans": "scans/a.nii"}, "scans/p", ""),
        ("predict", {"scans": "names.txt"}, "scans/p", "among the scans"),
        ("pretrain", {"store": "store"}, "run", ""),
        ("demo", {}, "store/demo", "lies inside the store"),
    ],
)
def test_nobody_writes_among_scans_or_over_what_another_verb_made(folders, verb, keys, out, said):
    (folders / "names.txt").write_text("scans\n")
    given = SimpleNamespace(out=folders / out, **{k: folders / v for k, v in keys.items()})
    if not said:
        return check_out(verb, given)
    with pytest.raises(UserError, match=f"CONFIG out=.*{said}.*elsewhere"):
        check_out(verb, given)


def test_a_link_into_a_store_is_followed(folders):
    (folders / "link").symlink_to(folders / "store/arrays")
    with pytest.raises(UserError, match="lies inside the store"):
        check_out("reduce", SimpleNamespace(out=folders / "link/selection"))


def test_the_folder_of_a_single_scan_may_be_worked_in(folders):
    one = folders / "scans/a.nii"
    Manifest.from_rows(one, scan(one)).write(folders / "scans/m")
    check_out("prepare", SimpleNamespace(manifest=folders / "scans/m", out=folders / "scans/s"))


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "study"])
def test_a_run_is_not_written_among_other_files(folders, verb):
    out = folders / "others"
    given = SimpleNamespace(store=folders / "store", out=out)
    check_out(verb, given)  # a new folder
    out.mkdir()
    (out / ".DS_Store").write_text("")
    check_out(verb, given)  # an empty one
    (out / "config.json").write_text('{"architectures": ["of something else"]}')
    with pytest.raises(UserError, match=f"CONFIG out={out}: .*`medssl {verb}` .*empty folder"):
        check_out(verb, given)
    (out / "config.json").write_text(json.dumps({"store": "store"}))
    check_out(verb, given)  # a run that was begun
    (folders / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_out(verb, SimpleNamespace(out=folders / "file"))


def test_a_damaged_run_is_left_to_the_verb_that_reads_it(folders):
    (folders / "run/config.json").write_text("")
    check_out("pretrain", SimpleNamespace(store=folders / "store", out=folders / "run"))
