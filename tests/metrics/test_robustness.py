"""ρ-robustness: models worked out by hand, planting in loops, and what it costs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import (
    DrawnBackgrounds,
    OtherClassImages,
    SolidColors,
    planted,
    rho_curve,
    rho_robustness,
    sufficient_explanation,
)
from captum_ad.targets import MultiLabel
from tests.metrics import reference
from tests.metrics.models import (
    CORNERS,
    answer,
    border_color,
    linear,
    noise,
    one_pixel,
    sigmoid,
    small_net,
    two_patches,
    untouched,
)
from tests.metrics.planted import fixed, problems, wide


class TestProperties:
    @given(problems())
    def test_the_whole_input_is_its_class_everywhere(self, problem):
        model, x, mask, backgrounds = problem
        found = rho_robustness(model, x, torch.ones_like(mask), answer(model, x), fixed(*backgrounds))
        assert found.rho == 1
        assert found.class_kept.all()
        with torch.no_grad():
            assert found.confidence == pytest.approx(float(model(x).softmax(1).max()))

    @given(problems())
    def test_of_no_explanation_is_what_the_backgrounds_give(self, problem):
        model, x, mask, backgrounds = problem
        target = answer(model, x)
        found = rho_robustness(model, x, torch.zeros_like(mask), target, fixed(*backgrounds))
        assert found.class_kept.tolist() == [answer(model, one[None]) == target for one in backgrounds]

    @given(problems(), st.integers(1, 20))
    def test_equals_planting_one_by_one(self, problem, batch_size):
        model, x, mask, backgrounds = problem
        target = answer(model, x)
        found = rho_robustness(model, x, mask, target, fixed(*backgrounds), batch_size=batch_size)
        rho, confidence, kept = reference.rho(model, x, reference.as_set(mask), backgrounds, target)
        assert found.rho == rho
        assert found.confidence == pytest.approx(confidence)
        assert found.class_kept.tolist() == kept
        assert (found.n, found.excluded) == (len(backgrounds), 0)

    @given(problems(), st.integers(1, 10), st.integers(1, 10), st.integers(0, 5))
    def test_more_backgrounds_keep_no_fewer(self, problem, few, more, seed):
        model, x, mask, _ = problem
        target = answer(model, x)
        some, all_of_them = (rho_robustness(model, x, mask, target, wide(n, seed)) for n in (few, few + more))
        assert all_of_them.class_kept[:few].tolist() == some.class_kept.tolist()
        assert all_of_them.class_kept.sum() >= some.class_kept.sum()
        assert all_of_them.rho * (few + more) == pytest.approx(int(all_of_them.class_kept.sum()))

    @given(problems())
    def test_what_an_explanation_of_a_prefix_keeps_is_of_its_mask(self, problem):
        model, x, mask, backgrounds = problem
        target = answer(model, x)
        explanation = sufficient_explanation(ADForward(model), x, mask.double(), target, 0.5)
        given_whole = rho_robustness(model, x, explanation, target, fixed(*backgrounds))
        given_mask = rho_robustness(model, x, explanation.mask[None, None], target, fixed(*backgrounds))
        assert torch.equal(given_whole.class_kept, given_mask.class_kept)
        assert given_whole.confidence == given_mask.confidence


class TestByHand:
    def test_one_pixel_that_is_planted_decides(self):
        """Logits (1, 4 v), v the pixel: of these backgrounds' three are bright enough without it."""
        model, x = one_pixel((0, 1, 2)), torch.ones(1, 1, 4, 4)
        backgrounds = fixed(*(torch.full((1, 4, 4), value) for value in (0.0, 0.2, 0.3, 0.5, 1.0)))
        mask = torch.zeros(4, 4, dtype=torch.bool)
        mask[0, 0] = mask[3, 3] = True
        without = rho_robustness(model, x, mask, 1, backgrounds)
        assert without.class_kept.tolist() == [False, False, True, True, True]
        assert without.rho == 0.6
        assert without.confidence == pytest.approx(sum(sigmoid(4 * v - 1) for v in (0, 0.2, 0.3, 0.5, 1)) / 5)
        mask[1, 2] = True
        planted_pixel = rho_robustness(model, x, mask, 1, backgrounds)
        assert (planted_pixel.rho, planted_pixel.confidence) == (1, pytest.approx(sigmoid(3)))

    def test_one_of_two_patches_needs_a_background_for_the_other(self):
        """Margin 4 (1 + v) - 6 with one patch planted on v, 2 with both."""
        model, x = two_patches(), torch.ones(1, 1, 4, 4)
        backgrounds = fixed(*(torch.full((1, 4, 4), value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)))
        one = rho_robustness(model, x, CORNERS == 0, 1, backgrounds)
        assert one.class_kept.tolist() == [False, False, False, True, True]  # a tie at v = 0.5 is nobody's
        assert rho_robustness(model, x, CORNERS != 2, 1, backgrounds).rho == 1

    def test_a_class_that_is_its_background_is_as_robust_as_backgrounds_are_of_it(self):
        model = border_color()
        x = torch.zeros(1, 3, 6, 6)
        x[:, 0] = 1
        center = torch.zeros(6, 6, dtype=torch.bool)
        center[1:5, 1:5] = True
        backgrounds = SolidColors(200, seed=1)
        found = rho_robustness(model, x, center, 0, backgrounds)
        colors = backgrounds.draw(model, x, 0).batch(0, 200)[:, :, 0, 0]
        assert found.class_kept.tolist() == (colors.argmax(1) == 0).tolist()
        assert found.rho == pytest.approx(1 / 3, abs=0.1)  # three colors, three standard errors
        assert rho_robustness(model, x, ~center, 0, backgrounds).rho == 1

    def test_images_of_other_classes(self):
        """The pixel says class 1; images of class 0 have it dark, and the one that is bright is passed over."""
        model, x = one_pixel((0, 0, 0), (1, 2, 2)), torch.ones(1, 1, 2, 2)
        dataset = [(torch.zeros(1, 2, 2), 0), (torch.ones(1, 2, 2), 0), (torch.zeros(1, 2, 2), 1)]
        mask = torch.tensor([[False, True], [True, True]])
        found = rho_robustness(model, x, mask, 1, OtherClassImages(dataset))
        assert (found.rho, found.n, found.excluded) == (0, 1, 1)
        assert rho_robustness(model, x, ~mask, 1, OtherClassImages(dataset)).rho == 1

    def test_a_class_other_than_the_answer_may_be_asked_for(self):
        model, x = one_pixel((0, 0, 0), (1, 2, 2)), torch.ones(1, 1, 2, 2)
        assert rho_robustness(model, x, torch.ones(2, 2, dtype=torch.bool), 0, SolidColors(3)).rho == 0

    @pytest.mark.parametrize(("to_confidence", "confidence"), [("sigmoid", sigmoid(4)), ("none", 4.0)])
    def test_to_confidence(self, to_confidence, confidence):
        model, x = one_pixel((0, 0, 0), (1, 2, 2)), torch.ones(1, 1, 2, 2)
        mask = torch.ones(2, 2, dtype=torch.bool)
        found = rho_robustness(model, x, mask, 1, SolidColors(3), to_confidence=to_confidence)
        assert found.confidence == pytest.approx(confidence)


class TestResults:
    @pytest.mark.parametrize("wrap", [ADForward, lambda model: BaselineForward(model, "avg")])
    def test_a_wrapped_model_runs_as_the_plain_one(self, wrap):
        model, x = small_net(2), noise(3, (1, 2, 6, 6))
        arguments = (x, noise(4, (6, 6)) > 0, answer(model, x), wide(10))
        plain, wrapped = rho_robustness(model, *arguments), rho_robustness(wrap(model), *arguments)
        assert torch.equal(plain.class_kept, wrapped.class_kept)
        assert plain.confidence == wrapped.confidence

    def test_nothing_is_changed_and_no_graph_is_kept(self):
        model, x = small_net(0), noise(0, (1, 2, 6, 6)).requires_grad_()
        dataset = [(noise(i, (2, 6, 6)), i % 3) for i in range(9)]
        for backgrounds in (wide(), OtherClassImages(dataset)):
            with untouched(model, x):
                found = rho_robustness(model, x, noise(1, (6, 6)) > 0, answer(model, x), backgrounds)
                curve = rho_curve(model, x, noise(1, (6, 6)), answer(model, x), backgrounds)
            for tensor in (found.class_kept, curve.values, curve.confidences):
                assert not tensor.requires_grad

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype):
        model, x = two_patches().to(dtype), torch.ones(1, 1, 4, 4, dtype=dtype)
        backgrounds = fixed(*(torch.full((1, 4, 4), value, dtype=dtype) for value in (0.0, 0.25, 0.75)))
        found = rho_robustness(model, x, CORNERS == 0, 1, backgrounds)
        assert found.class_kept.tolist() == [False, False, True]
        assert found.confidence == pytest.approx(sum(sigmoid(m) for m in (-2, -1, 1)) / 3)
        assert rho_robustness(model, x, CORNERS == 0, 1, SolidColors(5)).n == 5

    def test_progress_is_shown_only_when_asked(self, capsys):
        arguments = (two_patches(), torch.ones(1, 1, 4, 4), CORNERS == 0, 1, SolidColors(3))
        rho_robustness(*arguments)
        assert capsys.readouterr().err == ""
        rho_robustness(*arguments, show_progress=True)
        assert "ρ-robustness" in capsys.readouterr().err

    @given(problems())
    def test_planted_is_the_input_where_the_mask_is_and_the_background_elsewhere(self, problem):
        _, x, mask, backgrounds = problem
        composites = planted(x, mask, torch.stack(backgrounds))
        expected = [reference.planted(x, reference.as_set(mask), one) for one in backgrounds]
        assert torch.equal(composites, torch.cat(expected))


def refused(**changes):
    good = {
        "model": two_patches(),
        "inputs": torch.ones(1, 1, 4, 4),
        "explanation": CORNERS == 0,
        "target": 1,
        "backgrounds": SolidColors(2),
    }
    rho_robustness(**(good | changes))


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"explanation": torch.ones(4, 4)}, TypeError, "bool mask, True = in the explanation, got torch.float32"),
            ({"explanation": torch.ones(4, 4).long()}, TypeError, "got torch.int64"),
            ({"explanation": (CORNERS == 0).numpy()}, TypeError, "got ndarray"),
            ({"explanation": (CORNERS == 0)[:3]}, ValueError, r"mask has shape \(3, 4\), expected \(4, 4\)"),
            ({"explanation": (CORNERS == 0).expand(2, 4, 4)}, ValueError, r"\(2, 4, 4\), expected \(4, 4\)"),
            ({"explanation": torch.tensor(True)}, ValueError, r"mask has shape \(\), expected \(4, 4\)"),
            ({"model": two_patches().train()}, ValueError, r"train mode.*model\.eval\(\)"),
            ({"inputs": torch.ones(2, 1, 4, 4)}, ValueError, r"one input.*\(2, 1, 4, 4\)"),
            ({"inputs": torch.ones(1, 1, 4, 4).numpy()}, TypeError, "must be a Tensor, got ndarray"),
            ({"inputs": 3 * torch.ones(1, 1, 4, 4)}, ValueError, "give SolidColors the mean and std"),
            ({"target": 2}, ValueError, "target 2 is out of range: the model has classes 0 to 1"),
            ({"target": "cat"}, TypeError, "'cat' is a name: also give names="),
            ({"to_confidence": "relu"}, ValueError, "got 'relu'"),
            ({"batch_size": -1}, ValueError, "batch_size must be a positive integer, got -1"),
            (
                {"backgrounds": DrawnBackgrounds(lambda start, stop: torch.zeros(0, 1, 4, 4), 0)},
                ValueError,
                "no background",
            ),
            ({"model": nn.Flatten().eval(), "target": 16}, ValueError, "target 16 is out of range"),
            ({"model": nn.Identity().eval()}, ValueError, r"\(2, 1, 4, 4\), expected \(N, classes\)"),
        ],
    )
    def test_bad_arguments(self, changes, error, message):
        with pytest.raises(error, match=message):
            refused(**changes)

    def test_a_function_in_place_of_a_model(self):
        with pytest.raises(TypeError, match=r"torch\.nn\.Module, got function"):
            refused(model=lambda x: x.flatten(1))

    def test_an_explanation_that_was_not_found(self):
        model = linear(torch.zeros(2, 1, 4, 4), (1.0, 0.0))
        x = torch.ones(1, 1, 4, 4)
        none = sufficient_explanation(model, x, noise(0, (4, 4)), 1, baseline=0, allow_other_target=True)
        with pytest.raises(ValueError, match=r"no sufficient explanation was found.*check \.found"):
            rho_robustness(model, x, none, 1, SolidColors(2))

    def test_no_background_of_another_class(self):
        with pytest.raises(ValueError, match="no background is left"):
            refused(backgrounds=OtherClassImages([(torch.zeros(1, 4, 4), 1)]))

    @pytest.mark.parametrize("to_confidence", ["softmax", "sigmoid", "none"])
    @pytest.mark.parametrize("nan_class", [0, 1])
    def test_outputs_that_are_nan(self, to_confidence, nan_class):
        bias = [0.0, 0.0]
        bias[nan_class] = torch.nan
        with pytest.raises(ValueError, match="NaN"):
            refused(model=linear(torch.zeros(2, 1, 4, 4), bias), to_confidence=to_confidence)


def test_backgrounds_are_judged_as_the_explanation_is_and_by_the_selected_output():
    """Labels that do not exclude each other: all images of the data set have label 0."""

    class Labels(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), x.mean((1, 2, 3)) * 2], 1), x

    images = [(torch.full((1, 2, 2), value), 1) for value in (1.0, 2.0)]
    x, nothing = torch.ones(1, 1, 2, 2), torch.zeros(2, 2, dtype=torch.bool)
    for target in ({"target": 0, "to_confidence": "sigmoid"}, {"target": MultiLabel(0)}):
        with pytest.raises(ValueError, match="no background is left"):
            rho_robustness(
                ADForward(Labels().eval(), select=0), x, nothing, backgrounds=OtherClassImages(images), **target
            )
    found = rho_robustness(ADForward(Labels().eval(), select=0), x, nothing, 0, OtherClassImages(images))
    assert (found.rho, found.n) == (0, 2)
    with pytest.raises(TypeError, match="label of item 0 of the data set must be a class index"):
        rho_robustness(
            ADForward(Labels().eval(), select=0), x, nothing, 0, OtherClassImages([(images[0][0], torch.ones(2))])
        )
