"""E4 and E5: bad configs of every verb are refused before any data is looked at."""

from pathlib import Path

import numpy as np
import pytest

from medssl.cli import VERBS, execute
from medssl.data import manifest, store
from medssl.data.patients import pseudonym
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.plan import PLANS
from tests.faults import good

# Row: verb and words, and what the message must hold. Of the folders that are named only r exists, and
# is empty.
CASES = {
    # E4: keys that no stage knows, with the nearest one that it does
    "E4-index": ("index SCANS labls=x", "labls", "'labels'"),
    "E4-index-dash": ("index SCANS --labels=x", "--labels=x", "labels=..."),
    "E4-prepare": ("prepare ct_body out=o recipe.spacng=1,1,1", "recipe.spacng", "'recipe.spacing'"),
    "E4-prepare-flat": ("prepare ct_body spacing=1,1,1", "spacing", "'recipe.spacing'"),
    "E4-qc": ("qc m thumbnail=3", "thumbnail", "'thumbnails'"),
    "E4-reduce": ("reduce hash6 treshold=3", "treshold", "'threshold'"),
    "E4-signature": ("reduce hash6 signature.name=dhas", "signature.name=dhas", "'dhash'"),
    "E4-pretrain": ("pretrain mae learing_rate=1", "learing_rate", "accepted: "),
    "E4-pretrain-lr": ("pretrain mae optim.learning=1", "optim.learning", "optim.lr"),
    "E4-pretrain-fit": ("pretrain mae fit.step=1", "fit.step", "'fit.steps'"),
    "E4-method": ("pretrain mae method.mask_rato=0.5", "method.mask_rato", "'method.mask_ratio'"),
    "E4-backbone": ("pretrain mae backbone.dept=5", "backbone.dept", "'backbone.depth'"),
    "E4-finetune": ("finetune segmentation stor=s", "stor", "'store'"),
    "E4-task": ("finetune segmentation task.overlp=0.1", "task.overlp", "'task.overlap'"),
    "E4-arch": ("finetune segmentation arch.chanels=8,16", "arch.chanels", "'arch.channels'"),
    "E4-augment": ("finetune segmentation augment.nois=1", "augment.nois", "'augment.noise'"),
    "E4-evaluate": ("evaluate r resample=100", "resample", "'resamples'"),
    "E4-compare": ("compare r s baselin=r", "baselin", "'baseline'"),
    "E4-study": ("study methods=mae drawz=2", "drawz", "'draws'"),
    "E4-runs": ("runs ls r tsk=detection", "tsk", "'task'"),
    "E5-what": ("runs list", "what", "'show'"),
    "E4-plan": ("plan outt=p.json pretrain mae", "outt", "'out'"),
    "E5-plan": ("plan index SCANS", "plan index", "pretrain"),
    "E4-predict": ("predict r s overwrit=true", "overwrit", "'overwrite'"),
    "E4-probe": ("probe r storage=s", "storage", "'store'"),
    "E4-convert": ("convert m out=d contrst=T1w", "contrst", "'contrast'"),
    "E5-convert": ("convert m out=d to=nnunett", "to", "'nnunet'"),
    "E4-export": ("export r to=hub licens=mit", "licens", "'licence'"),
    "E5-export": ("export r to=keras", "to", "'timm'"),
    "E5-export-size": ("export r to=hub size=0,8", "size", "greater than or equal to 1"),
    "E4-embed": ("embed r placs=3", "placs", "'places'"),
    "E5-embed": ("embed r maps=tsne", "maps", "'umap'"),
    "E4-import": ("import weights=w.pt backbne=vit", "backbne", "'backbone'"),
    "E4-import-backbone": ("import weights=w.pt backbone.dept=3", "backbone.dept", "'backbone.depths'"),
    "E5-import": ("import weights=w.pt least=95", "least", "less than or equal to 1"),
    "E5-import-axes": ("import weights=w.pt axes=yxz", "axes", "'zyx'"),
    "E4-backbones": ("backbones chek=true", "chek", "'check'"),
    "E4-scrub": ("scrub f word=w", "word", "'words'"),
    "E4-copy": ("copy pretrain/mae too=x", "too", "'to'"),
    "E4-methods": ("methods stepz=3", "stepz", "'steps'"),
    "E4-presets": ("presets verbb=pretrain", "verbb", "'verb'"),
    "E4-demo": ("demo outt=o", "outt", "'out'"),
    "E4-preset": ("pretrain maee", "maee", "mae"),
    "E4-method-name": ("pretrain mae method.name=moe", "method.name=moe", "'mae'"),
    "E4-backbone-name": ("pretrain mae backbone.name=vitt", "backbone.name=vitt", "'vit'"),
    "E4-task-name": ("finetune segmentation task=segment", "task.name=segment", "'segmentation'"),
    "E4-word": ("qc m n", "n", "one word too many"),
    # E5: wrong types
    "E5-int": ("qc m workers=two", "workers", "'two'"),
    "E5-float": ("pretrain mae optim.lr=fast", "optim.lr", "'fast'"),
    "E5-bool": ("predict r s overwrite=perhaps", "overwrite", "'perhaps'"),
    "E5-choice": ("index SCANS ids=real", "ids", "'pseudonyms'"),
    "E5-precision": ("pretrain mae fit.precision=fp16", "fit.precision", "'bf16-mixed'"),
    "E5-intensity": ("prepare ct_body recipe.intensity=HU", "recipe.intensity", "'hu'"),
    "E5-mapping": ("finetune segmentation fit=fast", "fit", "'fast'"),
    "E5-group": ("pretrain mae optim=adam", "optim", "'adam'"),
    "E5-fraction": ("pretrain mae fit.steps=10.5", "fit.steps", "'10.5'"),
    "E5-classes": ("finetune segmentation classes={liver:1}", "classes", "liver"),
    "E5-size-word": ("pretrain mae method.size=big", "method.size", "'big'"),
    "E5-none": ("pretrain mae fit.steps=none", "fit.steps", "None"),
    # E5: out of range
    "E5-lr": ("pretrain mae optim.lr=-1e-3", "optim.lr", "greater than 0"),
    "E5-lr-zero": ("finetune segmentation optim.lr=0", "optim.lr", "greater than 0"),
    "E5-lr-nan": ("pretrain mae optim.lr=nan", "optim.lr", "finite"),
    "E5-lr-inf": ("pretrain mae optim.lr=inf", "optim.lr", "finite"),
    "E5-batch": ("pretrain mae fit.batch_size=0", "fit.batch_size", "greater than or equal to 1"),
    "E5-steps": ("finetune segmentation fit.steps=-5", "fit.steps", "greater than or equal to 1"),
    "E5-seed": ("pretrain mae fit.seed=-1", "fit.seed", "greater than or equal to 0"),
    "E5-betas": ("pretrain mae optim.betas=0.9", "optim.betas", "at least 2"),
    "E5-betas-one": ("pretrain mae optim.betas=0.9,1.0", "optim.betas.1", "less than 1"),
    "E5-workers": ("prepare ct_body workers=-1", "workers", "greater than or equal to 0"),
    "E5-spacing": ("prepare ct_body recipe.spacing=0,1,1", "recipe", "spacing [0.0, 1.0, 1.0]"),
    "E5-spacing-one": ("prepare ct_body recipe.spacing=1", "recipe", "each axis"),
    "E5-window": ("prepare ct_body recipe.window=300,-200", "recipe", "low and a high end"),
    "E5-percentiles": ("prepare mr_brain recipe.percentiles=-1,99", "recipe", "0 to 100"),
    "E5-orientation": ("prepare ct_body recipe.orientation=RAR", "recipe", "three letters"),
    "E5-overlap": ("finetune segmentation task.overlap=1", "task.overlap", "less than 1"),
    "E5-foreground": ("finetune segmentation task.foreground=2", "task.foreground", "equal to 1"),
    "E5-depth": ("pretrain mae backbone.depth=0", "backbone.depth", "greater than or equal to 1"),
    "E5-mask-ratio": ("pretrain mae method.mask_ratio=1.5", "method.mask_ratio", "less than 1"),
    "E5-mask-ratio-0": ("pretrain mae method.mask_ratio=0", "method.mask_ratio", "greater than 0"),
    "E5-momentum": ("pretrain voco method.momentum=2", "method.momentum", "equal to 1"),
    "E5-resamples": ("evaluate r resamples=3", "resamples", "greater than or equal to 100"),
    "E5-tolerance": ("evaluate r tolerance=-1", "tolerance", "greater than 0"),
    "E5-k": ("probe r k=0", "k", "greater than or equal to 1"),
    "E5-probe-size": ("probe r size=0,8,8", "size", "greater than or equal to 1"),
    "E5-threads": ("predict r s threads=-1", "threads", "greater than or equal to 0"),
    "E5-threshold": ("reduce hash6 threshold=-1", "threshold", "greater than or equal to 0"),
    "E5-budget": ("reduce hash6 budget=0", "budget", "greater than 0"),
    "E5-scope": ("reduce hash6 scope=patients", "scope", "'patient'"),
    "E5-folds": ("split m folds=1", "folds", "greater than or equal to 2"),
    "E5-labelled": ("finetune segmentation labelled=-2", "labelled", "greater than or equal to 0"),
    # E5: what does not go together
    "E5-infinite": ("pretrain mae optim.schedule=infinite", "optim", "in steps"),
    "E5-ranks": ("pretrain mae fit.batch_size=3 fit.devices=2", "fit.batch_size", "multiple of 2"),
    "E5-ranks-tune": ("finetune segmentation fit.batch_size=3 fit.devices=2", "fit.batch_size", "2 ranks"),
    "E5-anneal": ("pretrain mae optim.schedule=anneal", "optim.schedule", "start=RUN"),
    "E5-branch": ("pretrain mae branch=true", "branch=true", "start=RUN"),
    "E5-anneal-tune": ("finetune segmentation optim.schedule=anneal", "optim.schedule", "branch"),
    "E5-target": ("finetune segmentation target=x", "target", "masks"),
    "E5-pattern": ("index SCANS patient_pattern=([a-z]", "patient_pattern", "pattern"),
    "E5-pattern-group": ("index SCANS patient_pattern=abc", "patient_pattern", "group"),
}  # fmt: skip


@pytest.fixture
def no_data_is_read(monkeypatch):
    """Whoever reads a store, a manifest or a folder of scans before the refusal fails the test."""

    def read(*args, **options):
        raise AssertionError("data was read")

    monkeypatch.setattr(store.Store, "read_from", read)
    monkeypatch.setattr(manifest.Manifest, "read", read)
    monkeypatch.setattr("medssl.stages.index.scan", read)


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, monkeypatch, no_data_is_read):
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()  # the run that is named; what is not there at all is told before this
    line, key, told = CASES[row]
    verb, *words = line.split()
    with pytest.raises(UserError) as error:
        execute(verb, words)
    assert error.value.code == "CONFIG"
    assert key in error.value.where and told in str(error.value), error.value
    assert [*tmp_path.rglob("*")] == [tmp_path / "r"], "something was written"


def test_every_verb_has_a_row():
    without = {"doctor", "run"}  # the one has no keys, the other takes any of a pipeline's
    assert {line.split()[0] for line, *_ in CASES.values()} == set(VERBS) - without


@pytest.mark.parametrize("row", [r for r, (line, *_) in CASES.items() if line.split()[0] in PLANS])
def test_a_plan_says_the_same(row, tmp_path, monkeypatch, no_data_is_read):
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    verb, *words = CASES[row][0].split()
    errors = []
    for first, *others in ([verb, *words], ["plan", verb, *words]):
        with pytest.raises(UserError) as error:
            execute(first, others)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


def test_all_faults_are_told_at_once(no_data_is_read):
    line = [
        "mae", "optim.lr=-1", "fit.stps=3", "fit.batch_size=many", "augment.noise=-1",
        "method.mask_rato=1", "method.size=0", "backbone.depth=x",
    ]  # fmt: skip
    with pytest.raises(UserError) as error:
        execute("pretrain", line)
    keys = ("optim.lr", "fit.stps", "fit.batch_size", "augment.noise", "method.mask_rato",
            "method.size", "backbone.depth")  # fmt: skip
    assert [key for key in keys if key not in error.value.where] == []


# What depends on the store's number of channels and axes is refused before a voxel is read.
TOGETHER = {
    "E5-patch": ("pretrain mae method.size=33,33,33", "method.size", "multiple"),
    "E5-patch-one": ("pretrain mae method.size=16,16,16", "method.size", "single place"),
    "E5-axes": ("pretrain mae method.size=32,32", "method.size", "2 values"),
    "E5-backbone-axes": ("pretrain mae backbone.ndim=2", "backbone.patch", "2 numbers"),
    "E5-heads": ("pretrain mae backbone.heads=5", "backbone", "heads"),
    "E5-width": ("pretrain mae backbone.width=100", "backbone", "100"),
    "E5-voco": ("pretrain voco method.size=15,15,15", "method.size", "multiple"),
    "E5-all-hidden": ("pretrain mae method.mask_ratio=0.999", "method.mask_ratio", "patches"),
    "E5-task-axes": ("finetune segmentation task.size=32,32", "task.size", "2 values"),
    "E5-task-four": ("finetune segmentation task.size=8,8,8,8", "task.size", "4 values"),
    "E5-no-target": ("finetune classification target=missing", "target", "no labels"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A store of three volumes of 24^3 with masks."""
    root = tmp_path_factory.mktemp("configs")
    for name in ("scans", "masks"):
        (root / name).mkdir()
        for i in range(3):
            array = good.voxels((24, 24, 24)) + i if name == "scans" else ball()
            good.nifti(root / name, f"case_{i}.nii", array)
    call("index", scans=root / "scans", labels=[root / "masks"], modality="MR", out=root / "m")
    table = manifest.Manifest.read(root / "m")
    table.table["split"] = "train"
    table.table["patient"] = [pseudonym(id, "p") for id in table.table["id"]]
    table.write(root / "m")
    call("prepare", manifest=root / "m", out=root / "store")
    return root / "store"


def ball() -> np.ndarray:
    index = np.indices((24, 24, 24)) - 12
    return ((index**2).sum(0) < 36).astype(np.uint8)


@pytest.mark.parametrize("row", TOGETHER)
def test_what_does_not_go_together(row, prepared, tmp_path, monkeypatch):
    def read(*args, **options):
        raise AssertionError("voxels were read")

    for name in ("read", "read_mask", "foreground"):
        monkeypatch.setattr(store.Store, name, read)
    line, key, told = TOGETHER[row]
    verb, *words = line.split()
    with pytest.raises(UserError) as error:
        execute(verb, [*words, f"store={prepared}", f"out={tmp_path / 'run'}"])
    assert error.value.code == "CONFIG"
    assert key in error.value.where and told in str(error.value), error.value
    assert not (tmp_path / "run").exists()


def test_a_crop_larger_than_the_scans_is_padded_and_told(prepared, tmp_path, capsys):
    execute("pretrain", f"mae store={prepared} out={tmp_path / 'run'} backbone.patch=16 "
            "backbone.width=36 backbone.depth=1 method.size=32,32,32 fit.steps=1 "
            "fit.batch_size=1".split())  # fmt: skip
    told = capsys.readouterr().err
    assert "3 of 3 scans are smaller than a crop of 32x32x32, which is padded" in told
