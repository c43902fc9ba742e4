"""Quantus, grad-cam's metrics and shapiq on AD: what they compute is what masks give; skipped where they are not."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.adapters import grad_cam as adapted_grad_cam
from captum_ad.adapters import quantus as adapted_quantus
from captum_ad.adapters.shapiq import SuperpixelGame
from captum_ad.targets import Contrast

STEP = 16


def network(channels):
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def data(channels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, channels, 8, 8)).astype(np.float32)
    y = network(channels)(torch.from_numpy(x)).argmax(1).numpy()
    return x, y, rng.normal(size=(3, 1, 8, 8)).astype(np.float32)


def without(order, count):
    mask = torch.ones(64, dtype=torch.bool)
    mask[order[:count].copy()] = False
    return mask.reshape(8, 8)


@pytest.fixture
def quantus():
    return pytest.importorskip("quantus")


NAN = {"perturb_baseline": float("nan"), "disable_warnings": True}


class TestQuantus:
    def test_pixel_flipping_is_that_of_masks(self, quantus):
        x, y, a = data(1)
        ad = ADForward(network(1), "paper")
        metric = quantus.PixelFlipping(features_in_step=STEP, **NAN)
        found = metric(model=ad, x_batch=x, y_batch=y, a_batch=a, device="cpu", softmax=True)
        for i, curve in enumerate(found):
            order = np.argsort(-metric.normalise_func(a)[i].ravel())
            masks = torch.stack([without(order, k * STEP) for k in range(1, 5)])
            with torch.no_grad():
                expected = ad(torch.from_numpy(x[i : i + 1]).expand(4, -1, -1, -1), mask=masks).softmax(1)[:, y[i]]
            np.testing.assert_allclose(np.ravel(curve), expected, rtol=1e-5)

    def test_sensitivity_n_and_correlation_are_finite_and_not_those_of_paint(self, quantus):
        x, y, a = data(3)
        model = network(3)
        for make in (
            lambda **given: quantus.SensitivityN(features_in_step=STEP, n_max_percentage=0.8, **given),
            lambda **given: quantus.FaithfulnessEstimate(features_in_step=STEP, **given),
        ):
            given = {"x_batch": x, "y_batch": y, "a_batch": a, "device": "cpu"}
            missing = np.asarray(make(**NAN)(model=ADForward(model), **given), dtype=float)
            black = np.asarray(make(**{**NAN, "perturb_baseline": 0.0})(model=model, **given), dtype=float)
            assert np.isfinite(missing).all()
            assert not np.allclose(missing, black)

    def test_road(self, quantus):
        x, y, a = data(3)
        spread = np.broadcast_to(a, x.shape).copy()
        ad = ADForward(network(3), "paper")
        metric = quantus.ROAD(
            percentages=[25, 75], perturb_func=adapted_quantus.missing, disable_warnings=True, normalise=False
        )
        found = metric(model=ad, x_batch=x, y_batch=y, a_batch=spread, device="cpu")
        for percentage, share in found.items():
            orders = [np.argsort(-one.ravel()) for one in a]
            masks = torch.stack([without(order, 64 * percentage // 100) for order in orders])
            with torch.no_grad():
                right = ad(torch.from_numpy(x), mask=masks).argmax(1).numpy() == y
            assert share == pytest.approx(right.mean())

    def test_localization_only_looks(self, quantus):
        x, y, a = data(3)
        boxes = np.zeros((3, 1, 8, 8), dtype=bool)
        boxes[..., :4] = True
        metric = quantus.PointingGame(disable_warnings=True)
        found = metric(model=ADForward(network(3)), x_batch=x, y_batch=y, a_batch=a, s_batch=boxes, device="cpu")
        assert [bool(one) for one in found] == [bool(np.abs(one[0]).argmax() % 8 < 4) for one in a]

    @pytest.mark.parametrize("arr", [np.zeros((8, 8)), np.zeros((3, 8, 8), dtype=np.uint8)])
    def test_what_missing_cannot_mark_is_refused(self, arr):
        with pytest.raises(ValueError, match=r"expected a floating-point image of shape \(C, H, W\)"):
            adapted_quantus.missing(arr, np.array([0]))


def test_grad_cam_metrics_are_those_of_masks():
    confidence = pytest.importorskip("pytorch_grad_cam.metrics.perturbation_confidence")
    x, y, a = data(3)
    ad, cams = ADForward(network(3), "paper"), (a[:, 0] - a.min()) / (a.max() - a.min())
    metric = confidence.PerturbationConfidenceMetric(confidence.RemoveMostRelevantFirst(75, adapted_grad_cam.missing))
    targets = [lambda output, index=int(index): output[index] for index in y]
    found = metric(torch.from_numpy(x), cams, targets, ad)
    masks = torch.from_numpy(np.stack([cam < np.percentile(cam, 75) for cam in cams]))
    with torch.no_grad():
        whole, part = ad(torch.from_numpy(x)), ad(torch.from_numpy(x), mask=masks)
    expected = (part - whole)[torch.arange(3), torch.from_numpy(y)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


class TestShapiq:
    LABELS = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), dtype=int)) * 3 + 7  # 7, 10, 13, 16

    def test_the_game_is_that_of_masks(self):
        x, y, _ = data(3)
        ad = ADForward(network(3), "paper")
        game = SuperpixelGame(ad, torch.from_numpy(x[:1]), self.LABELS, int(y[0]), batch_size=3)
        assert game.n_players == 4
        coalitions = np.array(list(itertools.product([False, True], repeat=4)))
        for coalition, value in zip(coalitions, game(coalitions)):
            mask = torch.from_numpy(coalition[(self.LABELS - 7) // 3])
            with torch.no_grad():
                expected = ad(torch.from_numpy(x[:1]), mask=mask).softmax(1)[0, y[0]]
            assert value == pytest.approx(float(expected), rel=1e-5)
        assert game(coalitions[3]) == pytest.approx(game(coalitions[3:4]))

    def test_another_question_may_be_the_forward_s(self):
        x, question = torch.from_numpy(data(3)[0][:1]), Contrast(1, 2)
        asked = SuperpixelGame(ADForward(network(3), target=question), x, self.LABELS)
        given = SuperpixelGame(ADForward(network(3)), x, self.LABELS, question)
        assert np.array_equal(asked(np.eye(4)), given(np.eye(4)))
        assert asked(np.ones(4))[0] == pytest.approx(float(question.confidence(network(3)(x))[0]))
        with pytest.raises(ValueError, match=r"shape \(0, 4\), expected"):
            asked(np.zeros((0, 4)))

    def test_paint_plays_too_and_gives_another_game(self):
        x, y, _ = data(3)
        model, given = network(3), (torch.from_numpy(x[:1]), self.LABELS, int(y[0]))
        painted = SuperpixelGame(model, *given, baseline="max")
        assert np.allclose(painted(np.eye(4)), SuperpixelGame(BaselineForward(model, "max"), *given)(np.eye(4)))
        assert not np.allclose(painted(np.eye(4)), SuperpixelGame(ADForward(model), *given)(np.eye(4)))

    def test_exact_values_add_up(self):
        shapiq = pytest.importorskip("shapiq")
        x, y, _ = data(3)
        game = SuperpixelGame(ADForward(network(3)), torch.from_numpy(x[:1]), self.LABELS, int(y[0]))
        values = shapiq.ExactComputer(game, n_players=4)("k-SII", order=2)
        total = game(np.ones(4, dtype=bool))[0] - game(np.zeros(4, dtype=bool))[0]
        assert sum(value for players, value in values.dict_values.items() if players) == pytest.approx(total, abs=1e-6)
        approximated = shapiq.KernelSHAPIQ(4, max_order=2, random_state=0).approximate(16, game)
        assert approximated[(0, 1)] == pytest.approx(values[(0, 1)], abs=1e-6)

    def test_what_does_not_fit_is_refused(self):
        x, y, _ = data(3)
        given = torch.from_numpy(x[:1])
        game = SuperpixelGame(ADForward(network(3)), given, self.LABELS, int(y[0]))
        with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
            game(np.ones((2, 5)))
        with pytest.raises(ValueError, match="baseline"):
            SuperpixelGame(network(3), given, self.LABELS, int(y[0]))
        with pytest.raises(ValueError, match="segment"):
            SuperpixelGame(ADForward(network(3)), given, self.LABELS[:4], int(y[0]))
