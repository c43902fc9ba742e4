"""Sufficient explanations: arguments and answers of a model that are refused, and why."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import sufficient_explanation
from tests.metrics.models import DESCENDING, ONES, answer, linear, noise, seesaw, small_net


class Returns(nn.Module):
    """A model that returns what it was made with, for each input of the batch."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)


def returning(output):
    return Returns(output).eval()


GOOD = (seesaw(3, -4, 5, 0), ONES, DESCENDING, 1)


def good_but(**changes):
    """Arguments that are right, with some of them changed."""
    arguments = dict(zip(("forward_func", "inputs", "attribution", "target"), GOOD)) | {"baseline": 0.0}
    return arguments | changes


class TestRefusals:
    @pytest.mark.parametrize(
        "gamma", [-0.1, 1.1, math.nan, math.inf, True, False, "0.9", None, (0.5, 2), [True], torch.tensor(2.0)]
    )
    def test_thresholds_that_are_none(self, gamma):
        with pytest.raises(ValueError, match="number from 0 to 1, got"):
            sufficient_explanation(**good_but(gamma=gamma))

    @pytest.mark.parametrize("gamma", [(), []])
    def test_no_threshold(self, gamma):
        with pytest.raises(ValueError, match="empty sequence: give at least one"):
            sufficient_explanation(**good_but(gamma=gamma))

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"baseline": None}, ValueError, r"plain model needs a baseline.*ADForward\(model\)"),
            ({"forward_func": ADForward(GOOD[0])}, ValueError, "baseline was given with ADForward.*leave it out"),
            ({"forward_func": BaselineForward(GOOD[0], 1.0)}, ValueError, "baseline was given with BaselineForward"),
            ({"baseline": "gray"}, ValueError, "unknown baseline 'gray'"),
            ({"baseline": [0.0]}, TypeError, "got list"),
            ({"forward_func": lambda x: x}, TypeError, "torch.nn.Module, got function"),
            ({"forward_func": seesaw(1, 1, 1, 1).train()}, ValueError, r"train mode.*model\.eval\(\)"),
            ({"forward_func": ADForward(seesaw(1, 1, 1, 1).train()), "baseline": None}, ValueError, "train mode"),
            ({"inputs": ONES.expand(2, 1, 2, 2)}, ValueError, r"one input.*\(2, 1, 2, 2\).*one at a time"),
            ({"inputs": ONES[0, 0]}, ValueError, r"\(1, C, \*spatial\), got \(2, 2\)"),
            ({"attribution": torch.ones(3, 3)}, ValueError, r"\(3, 3\), expected that of the input, \(1, 1, 2, 2\)"),
            ({"attribution": DESCENDING / 0}, ValueError, "NaN or Inf"),
            ({"attribution": DESCENDING * torch.nan}, ValueError, "NaN or Inf"),
            ({"target": 2}, ValueError, "target 2 is out of range: the model has classes 0 to 1"),
            ({"target": -1}, (TypeError, ValueError), "target.* -1"),
            ({"target": 1.0}, TypeError, "class index .*got 1.0"),
            ({"target": True}, TypeError, "class index .*got True"),
            ({"target": "1"}, TypeError, "'1' is a name: also give names="),
            ({"step": 0}, ValueError, "step must be a positive integer, got 0"),
            ({"feature_mask": torch.ones(2, 2)}, ValueError, "float32, expected integer labels"),
            ({"feature_mask": torch.ones(3, 3).long()}, ValueError, r"\(3, 3\), expected \(2, 2\)"),
            ({"search": "binary"}, ValueError, 'scan" or "bisection", got \'binary\''),
            ({"to_confidence": "tanh"}, ValueError, "softmax, sigmoid, none or a function, got 'tanh'"),
            ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
            ({"batch_size": 2.0}, ValueError, "batch_size must be a positive integer, got 2.0"),
            ({"batch_size": True}, ValueError, "batch_size must be a positive integer, got True"),
            ({"baseline": torch.zeros(3, 2)}, ValueError, r"\(3, 2\), which does not broadcast"),
            ({"baseline": lambda x, mask: None}, TypeError, "returned NoneType, expected a tensor"),
        ],
    )
    def test_bad_arguments(self, changes, error, message):
        with pytest.raises(error, match=message):
            sufficient_explanation(**good_but(**changes))

    @pytest.mark.parametrize(
        ("output", "error", "message"),
        [
            (lambda x: x.new_full((len(x), 2), torch.nan), ValueError, "NaN or Inf"),
            (lambda x: x.new_full((len(x), 2), torch.inf), ValueError, "NaN or Inf"),
            (lambda x: x.flatten(1)[:, :1], ValueError, r"\(1, 1\), expected \(N, classes\) with at least two"),
            (lambda x: x[:, :, 0, 0].squeeze(1), ValueError, r"\(1,\), expected \(N, classes\)"),
            (lambda x: x, ValueError, r"\(1, 1, 2, 2\), expected \(N, classes\)"),
            (lambda x: {"maps": x, "more": x}, TypeError, "returned dict with maps, more, .*select="),
        ],
    )
    def test_outputs_that_say_nothing_of_a_class(self, output, error, message):
        with pytest.raises(error, match=message):
            sufficient_explanation(**good_but(forward_func=returning(output), target=1))

    @pytest.mark.parametrize("to_confidence", ["softmax", "sigmoid", "none"])
    @pytest.mark.parametrize("nan_class", [0, 1])
    def test_a_class_that_is_nan_for_a_masked_input_is_refused(self, to_confidence, nan_class):
        """A comparison with NaN is false, which would count as the class being lost."""

        def output(x):
            logits = torch.stack([torch.zeros(len(x)), torch.ones(len(x))], 1)
            logits[(x == 0).flatten(1).any(1), nan_class] = torch.nan
            return logits

        with pytest.raises(ValueError, match="NaN"):
            sufficient_explanation(**good_but(forward_func=returning(output), to_confidence=to_confidence))

    @pytest.mark.parametrize("wrong", ["inputs", "feature_mask"])
    def test_arrays_in_place_of_tensors(self, wrong):
        array = {"inputs": ONES.numpy(), "feature_mask": np.arange(4).reshape(2, 2)}[wrong]
        with pytest.raises(TypeError, match="must be a Tensor, got ndarray"):
            sufficient_explanation(**good_but(**{wrong: array}))

    @pytest.mark.filterwarnings("ignore:Sequential is in train mode")
    def test_a_model_put_into_train_mode_inside_its_wrapper(self):
        """It would mix the prefixes of a batch and learn from them."""
        model, x = small_net(0), noise(0, (1, 2, 6, 6))
        forward, target = ADForward(model), answer(model, x)
        model.train()
        with pytest.raises(ValueError, match="train mode"):
            sufficient_explanation(forward, x, noise(1, (6, 6)), target)

    def test_a_model_put_into_eval_mode_after_it_was_wrapped_is_fine(self):
        model = seesaw(3, -4, 5, 0).train()
        forward = ADForward(model)
        model.eval()
        assert sufficient_explanation(forward, ONES, DESCENDING, 1).found

    def test_scores_below_zero_are_no_confidences(self):
        """A share of a negative score is more than the score: not even the whole input would suffice."""
        log_softmax = nn.Sequential(seesaw(3, -4, 5, 0), nn.LogSoftmax(1)).eval()
        with pytest.raises(ValueError, match="confidence"):
            sufficient_explanation(**good_but(forward_func=log_softmax, to_confidence="none"))

    def test_sigmoids_that_round_to_one_are_no_tie(self):
        """Logits 20 and 30: the answer is class 1, though both sigmoids are 1.0 in single precision."""
        confident = linear(torch.tensor([20.0, 30.0]).reshape(2, 1, 1, 1) * torch.ones(2, 1, 2, 2) / 4, (0.0, 0.0))
        assert answer(confident, ONES) == 1
        assert sufficient_explanation(**good_but(forward_func=confident, to_confidence="sigmoid")).found
