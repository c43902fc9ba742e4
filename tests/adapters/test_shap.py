"""shap's Partition explainer on masks: values are complete, sit where they belong, and go into its own plots."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.segmentation import superpixels

pytest.importorskip("shap")
pytest.importorskip("torchvision")
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import shap
from torchvision import transforms

from captum_ad.adapters.shap import ImageMasker, MaskedClassifier
from tests.pictures import SHAPE, six_segments

TRANSFORM = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
TOP_TWO = shap.Explanation.argsort.flip[:2]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def photographs():
    return np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)


@pytest.fixture
def segments():
    return six_segments()


def confidences(model, x):
    with torch.no_grad():
        return model(x).softmax(1).numpy()


def of_images(model):
    """The function of painted images that shap's own maskers need."""
    return lambda images: confidences(model, torch.stack([TRANSFORM(Image.fromarray(image)) for image in images]))


def explain(classifier, images, masker=None, **options):
    masker = ImageMasker(SHAPE) if masker is None else masker
    options = {"max_evals": 60, "batch_size": 8, "silent": True, **options}
    return shap.Explainer(classifier, masker)(images, **options)


def patch_reader():
    """A network of two logits that reads rows 3 to 6, columns 8 to 12, and nothing else."""
    linear = nn.Linear(3 * 12 * 16, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight.view(2, 3, 12, 16)[0, :, 3:6, 8:12] = 0.1
    return nn.Sequential(nn.Flatten(), linear).eval()


# --- the masker alone ---


def test_it_hands_image_and_mask_on(photographs):
    masker = ImageMasker(SHAPE)
    wanted = np.random.default_rng(0).random(SHAPE[:2]) < 0.5
    for x in (photographs[0], torch.from_numpy(photographs[0])):
        image, mask = masker(wanted.ravel(), x)
        assert np.array_equal(image, photographs[:1])
        assert np.array_equal(mask, wanted[None])
        assert mask.dtype == np.bool_
    assert masker(True, photographs[0])[1].all()
    assert not masker(False, photographs[0])[1].any()
    assert not masker(None, photographs[0])[1].any()


# --- with shap ---


def test_the_explanation_has_what_shap_and_its_plot_expect(model, photographs):
    classifier = MaskedClassifier(ADForward(model), TRANSFORM)
    explainer = shap.Explainer(classifier, ImageMasker(SHAPE), output_names=list("abcd"))
    assert isinstance(explainer, shap.explainers.Partition)
    found = explainer(photographs, max_evals=40, batch_size=8, outputs=TOP_TWO, silent=True)
    assert found.shape == (2, 12, 16, 1, 2)
    assert np.array_equal(found.data, photographs)
    assert found[0].shape == (12, 16, 1, 2)
    assert np.array_equal(found[..., 1].values, found.values[..., 1])
    order = confidences(model, torch.stack([TRANSFORM(Image.fromarray(image)) for image in photographs])).argsort(1)
    names = np.array(list("abcd"))[order[:, ::-1][:, :2]]
    shap.image_plot(found, labels=names, show=False)
    axes = plt.gcf().axes
    assert [axis.get_title() for axis in axes[:6]] == ["", *names[0], "", *names[1]]
    drawn = [np.asarray(axes[i].images[-1].get_array()) for i in (1, 2, 4, 5)]
    plt.close("all")
    expected = [found.values[i, :, :, 0, j] for i in range(2) for j in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(drawn, expected))
    shap.image_plot(found[0], show=False)
    plt.close("all")


def maskings(model, segments):
    """Ours, and shap's own maskers, on the same network: (function, masker, what it says of nothing)."""
    ad = ADForward(model)
    x, nothing = torch.zeros(1, 3, 12, 16), torch.zeros(12, 16, dtype=torch.bool)
    pytest.importorskip("cv2")
    with torch.no_grad():
        base = ad(x, mask=nothing).softmax(1).numpy()[0]
    return {
        "AD": (MaskedClassifier(ad, TRANSFORM), ImageMasker(SHAPE), base),
        "AD of segments": (MaskedClassifier(ad, TRANSFORM), ImageMasker(SHAPE, segments), base),
        "blur": (of_images(model), shap.maskers.Image("blur(9,9)", SHAPE), None),
        "inpaint": (of_images(model), shap.maskers.Image("inpaint_telea", SHAPE), None),
    }


@pytest.mark.parametrize("name", ["AD", "AD of segments", "blur", "inpaint"])
def test_values_add_up_to_what_the_image_changes(model, photographs, segments, name):
    classifier, masker, base = maskings(model, segments)[name]
    found = explain(classifier, photographs, masker)
    whole = of_images(model)(photographs)
    assert np.allclose(found.values.sum((1, 2, 3)), whole - found.base_values, atol=1e-5)
    assert np.abs(whole - found.base_values).max() > 0.01
    if base is not None:
        assert np.allclose(found.base_values, base, atol=1e-6)


@pytest.mark.parametrize("name", ["AD", "blur", "inpaint"])
def test_values_sit_where_the_network_looks(photographs, segments, name):
    classifier, masker, _ = maskings(patch_reader(), segments)[name]
    found = explain(classifier, photographs, masker, max_evals=300, batch_size=50)
    values = np.abs(found.values.sum(3)[..., 0])
    patch = np.zeros(SHAPE[:2], dtype=bool)
    patch[3:6, 8:12] = True
    assert values[:, patch].mean() > 2 * values[:, ~patch].mean()
    leaked = values[:, ~patch].sum() / values.sum()
    if name == "AD":
        assert leaked < 1e-6  # what the network does not read changes nothing
    if name == "inpaint":
        assert leaked > 0.1  # what is painted over the patch comes from around it


def test_a_forward_that_paints_gives_what_shap_gives_for_that_paint(model, photographs):
    gray = np.full(SHAPE, 100, dtype=np.uint8)
    classifier = MaskedClassifier(BaselineForward(model, TRANSFORM(Image.fromarray(gray))), TRANSFORM)
    # As many as there are: then nothing depends on which shap takes first.
    options = {"max_evals": 100_000, "batch_size": 200}
    segments = np.arange(12)[:, None] // 6 * 2 + np.arange(16)[None] // 8
    ours = explain(classifier, photographs[:1], ImageMasker(SHAPE, segments), **options)
    values = {}
    for label in range(4):  # four players of one tree of halves, by hand
        values[label] = owen(
            lambda kept: of_images(model)(np.where(kept, photographs[0], gray)[None])[0], segments, label
        )
    for label in range(4):
        inside = ours.values[0, segments == label, 0]
        assert np.allclose(inside, values[label] / 48, atol=1e-6)


def test_a_baseline_that_depends_on_the_image_is_computed_for_each(model, photographs):
    images = np.stack([photographs[0] // 4, 255 - photographs[1] // 4])
    found = explain(MaskedClassifier(BaselineForward(model, "avg"), TRANSFORM), images)
    assert not np.allclose(found.base_values[0], found.base_values[1], atol=1e-2)
    whole = of_images(model)(images)
    assert np.allclose(found.values.sum((1, 2, 3)), whole - found.base_values, atol=1e-5)


def owen(game, segments, label):
    """The Owen value of one of four players in the tree ((0, 2), (1, 3)), from its definition."""

    def value(*players):
        return game(np.isin(segments, players)[..., None])

    partner, others = (label + 2) % 4, [player for player in range(4) if player % 2 != label % 2]
    contexts = [(), tuple(others)]
    changes = [
        value(label, *inside, *outside) - value(*inside, *outside)
        for inside in [(), (partner,)]
        for outside in contexts
    ]
    return np.mean(changes, 0)


def test_segments_are_hidden_whole_and_evaluations_counted(model, photographs, segments):
    calls = []
    classifier = MaskedClassifier(ADForward(model), TRANSFORM)

    def recorded(images, masks):
        assert (images == photographs[0]).all()
        calls.append(masks)
        return classifier(images, masks)

    found = explain(recorded, photographs[:1], ImageMasker(SHAPE, segments), max_evals=30, batch_size=6)
    assert max(len(masks) for masks in calls) <= 6
    masks = np.concatenate(calls)
    assert 20 < len(masks) <= 32
    for label in np.unique(segments):
        inside = masks[:, segments == label]
        assert (inside == inside[:, :1]).all()
        values = found.values[0, segments == label]
        assert np.allclose(values, values[0], atol=1e-9)


def test_what_the_transform_cuts_off_has_no_value(model, photographs):
    steps = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8), TRANSFORM])  # shows columns 2 to 13
    segments = np.arange(12)[:, None] // 6 * 5 + np.digitize(np.arange(16), [2, 6, 10, 14])
    masker = ImageMasker(SHAPE, torch.from_numpy(segments)[None, None])
    found = np.abs(explain(MaskedClassifier(ADForward(model), steps), photographs[:1], masker, max_evals=500).values)
    cut = np.isin(segments, [0, 4, 5, 9])
    assert found[0, cut].max() < 1e-9
    assert found[0, ~cut].max(-1).min() > 1e-6


def test_maskers_and_explainers_can_be_saved(model, photographs, segments, capsys):
    for given in (None, segments):
        file = io.BytesIO()
        ImageMasker(SHAPE, given).save(file)
        file.seek(0)
        loaded = shap.maskers.Masker.load(file)
        assert isinstance(loaded, ImageMasker)
        assert np.array_equal(loaded.clustering, ImageMasker(SHAPE, given).clustering)
    explainer = shap.Explainer(MaskedClassifier(ADForward(model), TRANSFORM), ImageMasker(SHAPE, segments))
    file = io.BytesIO()
    explainer.save(file)
    file.seek(0)
    loaded = shap.explainers.Partition.load(file)
    options = {"max_evals": 1000, "batch_size": 20, "silent": True}
    assert np.allclose(loaded(photographs, **options).values, explainer(photographs, **options).values, atol=1e-6)
    capsys.readouterr()  # shap prints what it loads


def test_models_that_take_no_masks_fail(model, photographs):
    for plain in (model, ADForward(model), of_images(model)):
        with pytest.raises(TypeError, match=r"the model of shap.Explainer is .*MaskedClassifier\("):
            explain(plain, photographs)
    painted = shap.maskers.Image(0, photographs[0].shape)
    with pytest.raises(TypeError, match=r"got images without masks.*ImageMasker"):
        explain(MaskedClassifier(ADForward(model), TRANSFORM), photographs, painted)
    with pytest.raises(TypeError, match=r"takes no mask=.*MaskedClassifier\(ADForward\(model\), transform\)"):
        MaskedClassifier(model, TRANSFORM)
    with pytest.raises(ValueError, match=r"shape \(12, 16, 3\).*made for \(8, 8, 3\)"):
        explain(MaskedClassifier(ADForward(model), TRANSFORM), photographs, ImageMasker((8, 8, 3)))


def test_without_shap_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "captum_ad.adapters.shap")
    monkeypatch.setitem(sys.modules, "shap.maskers", None)
    with pytest.raises(ImportError, match=r'needs shap: pip install .*"\.\[shap\]"'):
        import captum_ad.adapters.shap  # noqa: F401


def test_a_photograph_and_a_trained_network():
    pytest.importorskip("efficientnet_lite_pytorch")
    from skimage.data import coffee

    from captum_ad.demo import efficientnet_lite0

    model, transform = efficientnet_lite0()
    photograph = coffee()
    masker = ImageMasker(photograph.shape, superpixels(photograph, n_segments=12))
    classifier = MaskedClassifier(ADForward(model, "no-growth"), transform)
    explainer = shap.Explainer(classifier, masker, output_names=[str(i) for i in range(1000)])
    found = explainer(photograph[None], max_evals=24, batch_size=8, outputs=TOP_TWO[:1], silent=True)
    assert found.output_names == ["967"]  # espresso
    heat = found.values[0, :, :, 0, 0]
    assert heat[20:240, 180:420].mean() > 2 * heat.mean() > 0


def test_a_masker_that_paints_is_answered_with_what_to_do() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier = MaskedClassifier(
        ADForward(model),
        lambda image: torch.tensor(np.asarray(image) / 255).permute(2, 0, 1).float(),
        mask_transform=lambda labels: labels,
    )
    images = np.zeros((1, 12, 12, 3), dtype=np.uint8)
    explainer = shap.Explainer(classifier, shap.maskers.Image(0, images[0].shape))
    with pytest.raises(TypeError, match=r"images without masks.*ImageMasker\(image.shape\)"):
        explainer(images, max_evals=10, silent=True)
