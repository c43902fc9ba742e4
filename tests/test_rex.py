"""ReX through NaN: what its prediction function is told, what it finds, and its command line. Needs rex-xai."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("rex_xai")

from rex_xai import rex_wrapper
from rex_xai.explanation.rex import explanation
from rex_xai.input.config import CausalArgs
from rex_xai.mutants.mutant import _apply_to_data
from rex_xai.responsibility.prediction import Prediction
from rex_xai.utils._utils import Strategy

from captum_ad import ADForward, BaselineForward
from captum_ad.rex import Script, prediction_function, preprocess, script

REPOSITORY = Path(__file__).resolve().parents[1]
SIDE = 16
PATCH = (slice(4, 8), slice(8, 12))
BASELINES = ["zero", "min", "max", "avg", "blur", 0.3]


def to_tensor(image):
    """What torchvision's ToTensor and Normalize(0.5, 0.25) do."""
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - 0.5) / 0.25


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


@pytest.fixture(scope="module")
def patch_network():
    """Class 1 if more than half of the bright patch is seen: logits (2, 4 × its share)."""
    weights = torch.zeros(2, 3, SIDE, SIDE)
    weights[1, :, PATCH[0], PATCH[1]] = 4 / 2 / 48  # the patch is 255, which is 2 once it is normalised
    linear = nn.Linear(3 * SIDE * SIDE, 2)
    with torch.no_grad():
        linear.weight.copy_(weights.flatten(1))
        linear.bias.copy_(torch.tensor([1.9, 0.0]))
    return nn.Sequential(nn.Flatten(), linear).eval()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A grey image with a bright patch, as a file."""
    pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
    pixels[PATCH] = 255
    path = tmp_path_factory.mktemp("rex") / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def mutants():
    """Six masks and the image that they leave, NaN elsewhere: everything, nothing, and four between."""
    torch.manual_seed(1)
    x = torch.randn(1, 3, 9, 11)
    masks = torch.rand(6, 1, 9, 11) > 0.5
    masks[0], masks[1] = True, False
    return x, masks, torch.where(masks, x, torch.nan)


def arguments(path, forward, transform=to_tensor, **settings):
    args = CausalArgs()
    args.path, args.script, args.mask_value = str(path), script(forward, transform), "none"
    args.progress_bar, args.seed, args.iters, args.min_box_size, args.chunk_size = False, 0, 5, 2, 4
    vars(args).update(settings)
    return args


def explained(path, forward, **settings):
    return explanation(arguments(path, forward, **settings), torch.device("cpu"))


def agree(predictions, confidences):
    """Predictions are those of the confidences, (N, classes)."""
    assert [p.classification for p in predictions] == confidences.argmax(1).tolist()
    torch.testing.assert_close(torch.tensor([p.confidence for p in predictions]), confidences.amax(1))


# The prediction function


@pytest.mark.parametrize("rule", ["paper", "no-growth", "no-growth-mean"])
@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
def test_predictions_are_those_of_the_ad_forward_with_masks(network, mutants, rule, batch_size):
    x, masks, holed = mutants
    ad = ADForward(network, rule)
    with torch.no_grad():
        expected = ad(x.expand(6, -1, -1, -1), mask=masks).softmax(1)
    agree(prediction_function(ad, batch_size=batch_size)(holed), expected)


def test_without_nan_predictions_are_the_networks(network, mutants):
    with torch.no_grad():
        expected = network(mutants[0]).softmax(1)
    for forward in (ADForward(network), BaselineForward(network, "avg")):
        predictions = prediction_function(forward)(mutants[0], None)
        assert len(predictions) == 1
        assert (predictions[0].classification, predictions[0].confidence) == (expected.argmax(), expected.max())


def test_a_target_adds_its_confidence(network, mutants):
    predict = prediction_function(ADForward(network))
    for p in predict(mutants[2]):
        assert (p.target, p.target_confidence, p.bounding_box) == (None, None, None)
        assert type(p.classification) is int
        assert type(p.confidence) is float
    confidences = predict(mutants[2], raw=True)
    for k in range(5):
        predictions = predict(mutants[2], Prediction(k, 0.5))
        assert [p.target for p in predictions] == [k] * 6
        assert [p.target_confidence for p in predictions] == confidences[:, k].tolist()
        assert [p.is_passing() for p in predictions] == (confidences.argmax(1) == k).tolist()


@pytest.mark.parametrize("to_confidence", ["softmax", "sigmoid", "none", lambda output: output.softmax(1)[:, :2]])
def test_raw_predictions_are_the_confidences(network, mutants, to_confidence):
    known = {"softmax": lambda output: output.softmax(1), "sigmoid": torch.sigmoid, "none": lambda output: output}
    to_confidence = known.get(to_confidence, to_confidence)
    ad = ADForward(network)
    predict = prediction_function(ad, to_confidence=to_confidence)
    with torch.no_grad():
        expected = to_confidence(ad(mutants[2]))
    raw = predict(mutants[2], raw=True)
    torch.testing.assert_close(raw, expected)
    assert not raw.requires_grad
    agree(predict(mutants[2]), expected)


def test_channels_can_be_hidden_one_by_one(network, mutants):
    x, masks, _ = mutants
    mask = torch.cat([masks[2:3], masks[3:4], masks[4:5]], 1)
    ad = ADForward(network)
    with torch.no_grad():
        expected = ad(x, mask=mask).softmax(1)
    agree(prediction_function(ad)(torch.where(mask, x, torch.nan)), expected)


def test_mutants_get_the_models_dtype(network, mutants):
    ad = ADForward(copy.deepcopy(network).double())
    with torch.no_grad():
        agree(prediction_function(ad)(mutants[2]), ad(mutants[2].double()).softmax(1).float())


def test_one_dimensional_mutants():
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    x = torch.randn(2, 1, 20)
    x[1, :, 5:] = torch.nan
    ad = ADForward(model)
    with torch.no_grad():
        agree(prediction_function(ad)(x), ad(x).softmax(1))


@pytest.mark.parametrize("baseline", ["zero", 0.3, torch.tensor([[[0.1]], [[0.2]], [[0.3]]])], ids=str)
def test_a_baseline_that_needs_no_image_paints_nan(network, mutants, baseline):
    x, masks, holed = mutants
    forward = BaselineForward(network, baseline)
    with torch.no_grad():
        expected = forward(x.expand(6, -1, -1, -1), mask=masks).softmax(1)
    agree(prediction_function(forward)(holed), expected)


@pytest.mark.parametrize("baseline", ["min", "max", "avg", "blur"])
def test_a_baseline_of_the_whole_image_refuses_nan(network, mutants, baseline):
    with pytest.raises(ValueError, match=r"captum_ad\.rex\.preprocess"):
        prediction_function(BaselineForward(network, baseline))(mutants[2])


def test_what_takes_no_masks_is_refused(network):
    for function in (prediction_function, lambda model: preprocess(model, to_tensor), lambda m: script(m, to_tensor)):
        with pytest.raises(TypeError, match=r"Sequential.*ADForward\(model\)"):
            function(network)
        with pytest.raises(TypeError, match="Sequential"):
            function(nn.Sequential(ADForward(network), nn.Softmax(1)))
        with pytest.raises(TypeError, match="function"):
            function(lambda x: x)
        with pytest.raises(ValueError, match="train mode"):
            function(ADForward(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))))


def test_outputs_that_are_no_classes_are_refused(mutants):
    x = mutants[0]
    flat = nn.Flatten()
    for model in (nn.Identity(), nn.Sequential(flat, nn.Linear(297, 1)), nn.Flatten(0)):
        with pytest.raises(ValueError, match=r"expected \(1, classes\)"):
            prediction_function(ADForward(model.eval()), to_confidence="none")(x)
    nan = nn.Linear(297, 3)
    nan.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        prediction_function(ADForward(nn.Sequential(flat, nan).eval()))(x)
    with pytest.raises(ValueError, match="to_confidence"):
        prediction_function(ADForward(flat.eval()), to_confidence="sofmax")


def test_rex_missing(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "rex_xai.responsibility.prediction", None)
    monkeypatch.setitem(sys.modules, "rex_xai.input.input_data", None)
    for function in (prediction_function, lambda forward: preprocess(forward, to_tensor)):
        with pytest.raises(ImportError, match=r'rex-xai: pip install "captum_ad\[rex\]"'):
            function(ADForward(network))


# Preprocessing


def test_data_is_the_transformed_image_and_the_view_of_it(network, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "image.png")

    def cropped(image):
        return to_tensor(image.crop((5, 2, 19, 12)))

    load, _, model_shape = made = script(ADForward(network), cropped)
    assert isinstance(made, Script)
    assert model_shape == ["N", 3, "H", "W"]
    for given in (image, tmp_path / "image.png", str(tmp_path / "image.png")):
        data = load(given, model_shape, torch.device("cuda"))  # what ReX says where there is none
        assert torch.equal(data.data, cropped(image)[None])
        assert np.array_equal(np.array(data.input), pixels[2:12, 5:19])
        assert (data.model_height, data.model_width, data.model_channels, data.model_order) == (10, 14, 3, "first")
        assert (data.mode, data.model_shape, data.device) == ("RGB", ["N", 3, 10, 14], torch.device("cpu"))
        data.set_mask_value("none")
        assert np.isnan(data.mask_value)


def test_data_turns_photographs_upright_and_greyscale_to_rgb(network, tmp_path):
    image = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    data = preprocess(ADForward(network), to_tensor)(tmp_path / "turned.png")
    assert data.data.shape == (1, 3, 20, 10)
    assert np.array_equal(np.array(data.input)[..., 0], np.rot90(np.array(image), -1))


def test_a_network_of_greyscale_images():
    load, _, model_shape = script(ADForward(nn.Flatten().eval()), lambda image: to_tensor(image)[:1])
    data = load(Image.new("L", (4, 6), 128))
    assert model_shape == ["N", 1, "H", "W"]
    assert data.data.shape == (1, 1, 6, 4)
    assert data.input.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("transform", [lambda image: to_tensor(image)[None], np.array, lambda image: torch.ones(4, 4)])
def test_transforms_that_give_no_image_are_refused(network, transform):
    with pytest.raises(ValueError, match=r"the transform gives .* expected a tensor of shape \(1\|3, H, W\)"):
        script(ADForward(network), transform)


@pytest.mark.parametrize("mask_value", [0, 0.0, "min", "mean", "random", "linear", "context", "spectral"])
def test_paint_is_refused(patch_network, picture, mask_value):
    for forward in (ADForward(patch_network), BaselineForward(patch_network, "zero")):
        with pytest.raises(ValueError, match=r'mask_value = "none" under \[rex\] in rex.toml'):
            explained(picture, forward, mask_value=mask_value)


@pytest.mark.parametrize("baseline", BASELINES)
def test_mutants_of_a_baseline_are_painted_with_that_of_the_whole_image(network, picture, baseline):
    forward = BaselineForward(network, baseline)
    data = preprocess(forward, to_tensor)(picture)
    data.set_mask_value("none")
    masks = (torch.rand(5, 1, SIDE, SIDE) > 0.5).expand(-1, 3, -1, -1)
    for mask in (masks[0], masks):  # as ReX has them when it searches and when it extracts
        one_each = mask.reshape(-1, 3, SIDE, SIDE)
        expected = forward.painted(data.data.expand(len(one_each), -1, -1, -1), one_each)
        assert torch.equal(_apply_to_data(mask, data), expected)


# ReX itself


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("rule", ["paper", "no-growth-mean"])
def test_an_explanation_is_the_part_that_keeps_the_class(patch_network, picture, batch_size, rule):
    ad = ADForward(patch_network, rule)
    found = explained(picture, ad, batch_size=batch_size)
    mask, best = found.sufficiency_mask, found.target_map == found.target_map.max()
    assert mask.shape == (3, SIDE, SIDE)
    assert (mask == mask[0]).all()
    assert mask[0][PATCH].sum() >= 8  # half of the patch, below which it is class 0
    assert mask[0].sum() <= 64
    assert best[PATCH].any()
    x = to_tensor(Image.open(picture))[None]
    with torch.no_grad():
        confidence = ad(x, mask=mask[0]).softmax(1)[0, 1]
    assert found.sufficiency_confidence == pytest.approx(float(confidence))
    assert (found.data.target.classification, confidence > 0.5) == (1, True)


def test_batches_change_nothing_and_seeds_repeat(network, picture):
    maps = [explained(picture, ADForward(network), batch_size=b, iters=2).target_map for b in (1, 1, 5)]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


def test_a_baseline_of_zero_finds_what_ad_finds_where_missing_is_zero(patch_network, picture):
    ad, zero = (explained(picture, f(patch_network)) for f in (ADForward, lambda m: BaselineForward(m, "zero")))
    assert torch.equal(ad.target_map, zero.target_map)
    assert torch.equal(ad.sufficiency_mask, zero.sufficiency_mask)


def test_confidence_asked_for(patch_network, picture):
    small, large = (explained(picture, ADForward(patch_network), minimum_confidence_threshold=g) for g in (0.0, 0.99))
    assert large.sufficiency_mask.sum() > small.sufficiency_mask.sum()
    assert large.sufficiency_confidence >= 0.99 * large.data.target.confidence - 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": Strategy.Spatial},
        {"strategy": Strategy.Contrastive},
        {"strategy": Strategy.Contrastive, "complete": True},
        {"strategy": Strategy.MultiSpotlight, "spotlights": 3},
    ],
    ids=["spatial", "contrastive", "complete", "multi"],
)
@pytest.mark.parametrize("masking", [ADForward, lambda model: BaselineForward(model, "avg")], ids=["AD", "avg"])
def test_every_strategy(patch_network, picture, tmp_path, settings, masking):
    found = explained(
        picture,
        masking(patch_network),
        batch_size=8,
        output=str(tmp_path / "x.png"),
        spatial_initial_radius=3,
        **settings,
    )
    assert list(tmp_path.iterdir())
    masks = getattr(found, "explanations", None) or [found.sufficiency_mask]
    assert masks[0][0][PATCH].any()
    if settings["strategy"] == Strategy.Contrastive:
        assert found.necessity_mask[0][PATCH].sum() >= 8


@pytest.mark.parametrize("masking", [ADForward, lambda model: BaselineForward(model, "min")], ids=["AD", "min"])
def test_rex_analyses_its_explanation(patch_network, picture, capsys, masking):
    explained(picture, masking(patch_network), analyse="print", batch_size=8, insertion_step=7)
    printed = capsys.readouterr().out
    assert "robustness" in printed
    assert "nan" not in printed


def test_nothing_left_to_try(network):
    with pytest.raises(ValueError, match="minimum_confidence_threshold"):
        prediction_function(ADForward(network))(torch.empty(0, 3, SIDE, SIDE))


COMMAND_LINE = """
from captum_ad import ADForward
from captum_ad.demo import efficientnet_lite0
from captum_ad.rex import script

model, transform = efficientnet_lite0()
preprocess, prediction_function, model_shape = script(ADForward(model), transform)
"""

CONFIGURATION = """
[rex]
mask_value = "none"
seed = 0
batch_size = 14

[causal]
iters = 1
tree_depth = 2

[explanation]
chunk_size = 2500
"""


def test_command_line(tmp_path):
    """The demo network and a photograph, as a user has it."""
    from skimage.data import coffee

    Image.fromarray(coffee()).save(tmp_path / "photo.png")
    (tmp_path / "script.py").write_text(COMMAND_LINE)
    (tmp_path / "rex.toml").write_text(CONFIGURATION)
    options = ["--script", "script.py", "--config", "rex.toml", "--output", "found.png", "-v"]
    run = subprocess.run(
        [Path(sys.executable).with_name("ReX"), "photo.png", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "image classified as 967" in run.stdout  # espresso
    assert "a sufficient explanation for 967 found" in run.stdout
    with Image.open(tmp_path / "found.png") as image:
        assert image.size == (224, 224)


def test_command_line_without_configuration(tmp_path, monkeypatch, picture):
    """ReX's default is to paint, which is refused."""
    (tmp_path / "script.py").write_text(COMMAND_LINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["ReX", str(picture), "--script", "script.py"])
    with pytest.raises(ValueError, match="mask_value is 0"):
        rex_wrapper.main()


def test_the_demo_network_sees_a_cat(tmp_path):
    from skimage.data import chelsea

    from captum_ad.demo import efficientnet_lite0

    model, transform = efficientnet_lite0()
    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    ad = ADForward(model, "no-growth")
    args = arguments(tmp_path / "cat.png", ad, transform, iters=1, tree_depth=2, batch_size=14, chunk_size=2500)
    found = explanation(args, torch.device("cpu"))
    with torch.no_grad():
        x = transform(Image.fromarray(chelsea()))[None]
        target = int(model(x).argmax())
        alone = ad(x, mask=found.sufficiency_mask[0]).softmax(1)[0]
    assert (found.data.target.classification, int(alone.argmax())) == (target, target)
    assert found.sufficiency_confidence == pytest.approx(float(alone[target]), rel=1e-3)
    assert 0 < found.sufficiency_mask.float().mean() < 1
    assert found.target_map.shape == (224, 224)
    assert len(found.target_map.unique()) > 4
