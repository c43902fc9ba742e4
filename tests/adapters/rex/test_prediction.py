"""The prediction function for ReX: what it is told of the mutants, whose hidden pixels are NaN."""

import copy
import sys

import pytest
import torch
from torch import nn

pytest.importorskip("rex_xai")

from rex_xai.responsibility.prediction import Prediction

from captum_ad import ADForward, BaselineForward
from captum_ad.adapters.rex import prediction_function, preprocess, script
from tests.adapters.rex.models import SIDE, to_tensor


@pytest.fixture
def mutants():
    """Six masks and the image that they leave, NaN elsewhere: everything, nothing, and four between."""
    torch.manual_seed(1)
    x = torch.randn(1, 3, 9, 11)
    masks = torch.rand(6, 1, 9, 11) > 0.5
    masks[0], masks[1] = True, False
    return x, masks, torch.where(masks, x, torch.nan)


def agree(predictions, confidences):
    """Predictions are those of the confidences, (N, classes)."""
    assert [p.classification for p in predictions] == confidences.argmax(1).tolist()
    torch.testing.assert_close(torch.tensor([p.confidence for p in predictions]), confidences.amax(1))


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
    with pytest.raises(ValueError, match=r"captum_ad\.adapters\.rex\.preprocess"):
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


def test_nothing_left_to_try(network):
    with pytest.raises(ValueError, match="minimum_confidence_threshold"):
        prediction_function(ADForward(network))(torch.empty(0, 3, SIDE, SIDE))


def test_rex_missing(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "rex_xai.responsibility.prediction", None)
    monkeypatch.setitem(sys.modules, "rex_xai.input.input_data", None)
    for function in (prediction_function, lambda forward: preprocess(forward, to_tensor)):
        with pytest.raises(ImportError, match=r'rex-xai: pip install .*"\.\[rex\]"'):
            function(ADForward(network))
