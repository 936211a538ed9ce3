import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medssl.backbones.base import build, pool
from medssl.errors import UserError
from medssl.training.card import card
from medssl.training.checkpoint import save_model
from medssl.training.embedder import Embedder
from tests.data.test_store import make

NET = {"channels": [4, 6]}


@pytest.fixture
def made(tmp_path):
    """A store of eight volumes, two a patient, and a model that was not trained."""
    store = make(tmp_path / "store", [(12, 12, 12)] * 8)
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=1, **NET)
    about = card(
        "pretrained", backbone={"name": "res_unet", "options": {"in_channels": 1, **NET}},
        recipe=store.recipe.model_dump(), config={"fit": {"steps": 1}}, steps=1, image_size=[8, 8, 8],
        seen={"patients": {}, "scans": {}, "patient_key": ""},
    )  # fmt: skip
    save_model(tmp_path / "model", {"backbone": backbone}, about)
    return tmp_path / "model", store, backbone.eval()


def test_features_are_averages_over_the_boxes_of_a_scan(made):
    model, store, backbone = made
    item = store.items.index[0]
    found = Embedder(model, store.folder).fit_transform([item])
    boxes = [
        store.read(item, [x, y, z], [x + 8, y + 8, z + 8])
        for x in (0, 4) for y in (0, 4) for z in (0, 4)
    ]  # fmt: skip
    with torch.no_grad():
        expected = pool(backbone(torch.from_numpy(np.stack(boxes)))).mean(0)
    assert found.shape == (1, 10) and found.dtype == np.float32
    assert np.allclose(found[0], expected, atol=1e-5)


def test_a_pipeline_with_patients_kept_together(made):
    model, store, _ = made
    ids = np.array(list(store.items.index))
    patients = np.repeat(np.arange(4), 2)
    labels = np.tile([0, 1], 4)
    pipe = make_pipeline(Embedder(model, store.folder), StandardScaler(), LogisticRegression())
    scores = cross_val_score(pipe, ids, labels, groups=patients, cv=GroupKFold(4))
    assert scores.shape == (4,) and np.isfinite(scores).all()
    assert pipe.fit(ids, labels).predict(ids[:, None]).shape == (8,)
    names = pipe[:-1].get_feature_names_out()
    assert names.tolist() == [f"level0_{i}" for i in range(4)] + [f"level1_{i}" for i in range(6)]


def test_it_is_an_estimator_that_can_be_cloned_and_set(made):
    model, store, _ = made
    first = Embedder(model, store.folder, size=[8, 8, 12], boxes=2)
    again = clone(first)
    assert again is not first and again.get_params() == first.get_params()
    assert again.set_params(boxes=1).boxes == 1
    one, two = (
        first.fit_transform(store.items.index[:2]),
        clone(first).transform(store.items.index[1:2]),
    )
    assert np.array_equal(one[1], two[0])  # the boxes of a scan do not depend on what else is asked


def test_whole_scans_are_resized(made):
    model, store, _ = made
    whole = Embedder(model, store.folder, whole=True).fit_transform(store.items.index[:1])
    cut = Embedder(model, store.folder).fit_transform(store.items.index[:1])
    assert whole.shape == cut.shape and not np.allclose(whole, cut)


def test_what_does_not_fit_is_said(made, tmp_path):
    model, store, _ = made
    with pytest.raises(UserError, match="does not hold nobody"):
        Embedder(model, store.folder).fit_transform(["nobody"])
    with pytest.raises(UserError, match="asked for no scan"):
        Embedder(model, store.folder).fit_transform([])
    with pytest.raises(UserError, match="there is no such folder"):
        Embedder(tmp_path / "nothing", store.folder).fit()
