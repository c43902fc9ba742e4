"""Sufficient explanations: models worked out by hand, other targets, and what comes back."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from captum_ad import ADForward
from captum_ad._common.errors import EmptyExplanationWarning
from captum_ad.metrics import ExplanationSize, SolidColors, rho_robustness, sufficient_explanation
from tests.metrics import reference
from tests.metrics.models import (
    CORNERS,
    DESCENDING,
    ONES,
    answer,
    border_color,
    linear,
    noise,
    one_pixel,
    seesaw,
    sigmoid,
    small_net,
    two_patches,
    untouched,
)


class TestByHand:
    @pytest.mark.parametrize("rank", [0, 6, 15])
    @pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
    def test_one_pixel_suffices_as_soon_as_it_is_there(self, hide, rank, gamma):
        """Logits (1, 4) with the pixel and (1, 0) without."""
        forward, options = hide(one_pixel((0, 1, 2)))
        order = [place for place in range(16) if place != 6]
        order.insert(rank, 6)
        attribution = torch.zeros(16)
        attribution[order] = torch.arange(16.0, 0, -1)
        arguments = (torch.ones(1, 1, 4, 4), attribution.reshape(4, 4), 1, gamma)
        found = sufficient_explanation(forward, *arguments, **options)
        assert (found.found, found.gamma, found.target) == (True, gamma, 1)
        assert found.size == (rank + 1) / 16
        assert found.mask[1, 2]
        assert found.mask.sum() == rank + 1
        assert found.confidence == pytest.approx(sigmoid(3))
        assert found.original_confidence == pytest.approx(sigmoid(3))
        values = [sigmoid(-1)] * (rank + 1) + [sigmoid(3)] * (16 - rank)
        assert found.curve.values.tolist() == pytest.approx(values)
        assert found.curve.class_kept.tolist() == [value > 0.5 for value in values]
        assert found.curve.sizes.tolist() == [count / 16 for count in range(17)]

    def test_both_patches_are_needed(self, hide):
        """Logit margins -6 with none, -2 with one, 2 with both."""
        forward, options = hide(two_patches())
        attribution = (CORNERS == 0) * 3.0 + (CORNERS == 1) * 1.0
        found = sufficient_explanation(forward, torch.ones(1, 1, 4, 4), attribution, 1, feature_mask=CORNERS, **options)
        assert found.curve.values.tolist() == pytest.approx([sigmoid(-6), sigmoid(-2), sigmoid(2), sigmoid(2)])
        assert found.curve.sizes.tolist() == [0, 0.25, 0.5, 1]
        assert found.size == 0.5
        assert torch.equal(found.mask, CORNERS != 2)

    def test_useless_positions_between_the_patches_are_taken_along_unless_minimized(self, hide):
        forward, options = hide(two_patches())
        attribution = (CORNERS == 0) * 3.0 + (CORNERS == 2) * 2.0
        arguments = (forward, torch.ones(1, 1, 4, 4), attribution, 1, 0.9)
        prefix = sufficient_explanation(*arguments, feature_mask=CORNERS, **options)
        assert prefix.size == 1
        least = sufficient_explanation(*arguments, feature_mask=CORNERS, minimize=True, **options)
        assert torch.equal(least.mask, CORNERS != 2)
        assert least.confidence == pytest.approx(sigmoid(2))

    @pytest.mark.parametrize(("gamma", "border_pixels"), [(0.0, 1), (0.3, 1), (0.9, 10), (1.0, 20)])
    @pytest.mark.parametrize("border_first", [True, False])
    def test_the_color_of_the_border(self, hide, gamma, border_pixels, border_first):
        """With b of 20 red pixels the logits are (0.3 b, 0, 0): e^2.84 / (e^2.84 + 2) is 0.9 times that of b = 20."""
        forward, options = hide(border_color())
        x = torch.zeros(1, 3, 6, 6)
        x[:, 0] = 1
        x[..., 1:5, 1:5] = 0.5
        border = torch.ones(6, 6)
        border[1:5, 1:5] = 0
        found = sufficient_explanation(forward, x, border if border_first else -border, 0, gamma, **options)
        assert found.size == (border_pixels + (0 if border_first else 16)) / 36
        assert found.confidence == pytest.approx(1 / (1 + 2 * math.exp(-0.3 * border_pixels)))

    @pytest.mark.parametrize(
        ("gamma", "size", "margin"),
        [(0.0, 0.25, 2), (0.92, 0.25, 2), (0.93, 0.75, 3), (1.0, 0.75, 3)],
    )
    def test_a_confidence_that_rises_and_falls(self, hide, gamma, size, margin):
        """+3, -4, +5, 0: margins -1, 2, -2, 3, 3, and σ(2)/σ(3) is 0.925. A longer prefix may fail again."""
        forward, options = hide(seesaw(3, -4, 5, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, gamma, **options)
        assert found.curve.values.tolist() == pytest.approx([sigmoid(m) for m in (-1, 2, -2, 3, 3)])
        assert found.curve.class_kept.tolist() == [False, True, False, True, True]
        assert (found.size, found.confidence) == (size, pytest.approx(sigmoid(margin)))

    def test_minimizing_leaves_out_what_speaks_against_the_class(self, hide):
        """+3, -4, +5: not the +5, then the -4, then the +3 can go."""
        forward, options = hide(seesaw(3, -4, 5, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.95, minimize=True, **options)
        assert found.mask.tolist() == [[False, False], [True, False]]
        assert (found.size, found.confidence) == (0.25, pytest.approx(sigmoid(4)))

    def test_minimizing_goes_round_until_nothing_changes(self, hide):
        """-4, +5, +3: the +3 cannot go at first, but once the -4 has gone."""
        forward, options = hide(seesaw(-4, 5, 3, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.9, minimize=True, **options)
        assert found.mask.tolist() == [[False, True], [False, False]]

    def test_nothing_suffices_where_the_class_is_the_answer_to_nothing(self, hide):
        forward, options = hide(linear(torch.zeros(2, 1, 2, 2), (0.0, 1.0)))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, minimize=True, **options)
        assert (found.found, found.size, found.confidence) == (True, 0, pytest.approx(sigmoid(1)))
        assert not found.mask.any()

    def test_a_tie_is_nobodys(self, hide):
        """+1 makes the logits equal; only the second pixel decides."""
        forward, options = hide(seesaw(1, 2, 0, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.0, **options)
        assert found.curve.class_kept.tolist() == [False, False, True, True, True]
        assert found.size == 0.5

    @pytest.mark.parametrize(
        ("to_confidence", "values"),
        [
            ("softmax", [sigmoid(-1), sigmoid(2), sigmoid(-2), sigmoid(3), sigmoid(3)]),
            ("sigmoid", [sigmoid(0), sigmoid(3), sigmoid(-1), sigmoid(4), sigmoid(4)]),
            ("none", [0, 3, -1, 4, 4]),
            (lambda output: 2 * output, [0, 6, -2, 8, 8]),
        ],
    )
    def test_to_confidence(self, hide, to_confidence, values):
        forward, options = hide(seesaw(3, -4, 5, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, to_confidence=to_confidence, **options)
        assert found.curve.values.tolist() == pytest.approx(values)


class TestOtherTargets:
    def test_are_refused_with_the_way_out(self, hide):
        forward, options = hide(one_pixel((0, 0, 0), (1, 2, 2)))
        with pytest.raises(ValueError, match=r"Class\(0\) is not the model's answer.*0\.0474.*allow_other_target=True"):
            sufficient_explanation(forward, ONES, DESCENDING, 0, **options)

    def test_are_searched_for_when_allowed(self, hide):
        """Before the pixel is there the answer is class 0."""
        forward, options = hide(one_pixel((0, 0, 1), (1, 2, 2)))
        found = sufficient_explanation(forward, ONES, DESCENDING, 0, allow_other_target=True, **options)
        assert (found.found, found.size, found.confidence) == (True, 0, pytest.approx(sigmoid(1)))
        assert found.original_confidence == pytest.approx(sigmoid(-3))

    @pytest.mark.parametrize("minimize", [False, True])
    def test_may_not_be_found_and_the_curve_is_there_all_the_same(self, hide, minimize):
        forward, options = hide(linear(torch.zeros(3, 1, 2, 2), (2.0, 1.0, 0.0)))
        found = sufficient_explanation(
            forward, ONES, DESCENDING, 1, 0.0, allow_other_target=True, minimize=minimize, **options
        )
        assert not found.found
        assert math.isnan(found.size)
        assert math.isnan(found.confidence)
        assert found.mask.shape == (2, 2)
        assert not found.mask.any()
        share = math.e / (1 + math.e + math.e**2)
        assert found.curve.values.tolist() == pytest.approx([share] * 5)
        assert found.curve.sizes.tolist() == [0, 0.25, 0.5, 0.75, 1]
        assert not found.curve.class_kept.any()


class TestResults:
    def test_one_threshold_gives_one_and_several_give_a_tuple(self):
        arguments = (seesaw(3, -4, 5, 0), ONES, DESCENDING, 1)
        assert sufficient_explanation(*arguments, baseline=0).gamma == 0.9
        assert sufficient_explanation(*arguments, 1, baseline=0).gamma == 1.0
        several = sufficient_explanation(*arguments, [0.9, 0.1, 0.9], baseline=0)
        assert isinstance(several, tuple)
        assert [one.gamma for one in several] == [0.9, 0.1, 0.9]

    @pytest.mark.parametrize("target", [torch.tensor(1), np.int64(1)])
    def test_a_target_may_be_a_whole_number_of_any_kind(self, target):
        found = sufficient_explanation(seesaw(3, -4, 5, 0), ONES, DESCENDING, target, baseline=0)
        assert found.target == 1
        assert isinstance(found.target, int)

    @pytest.mark.parametrize("search", ["scan", "bisection"])
    @pytest.mark.parametrize("minimize", [False, True])
    @pytest.mark.parametrize("kind", ["AD", "baseline"])
    def test_nothing_is_changed_and_no_graph_is_kept(self, search, minimize, kind):
        model, x = small_net(0), noise(0, (1, 2, 6, 6)).requires_grad_()
        attribution = noise(1, (2, 6, 6)).requires_grad_()
        forward, baseline = (ADForward(model), None) if kind == "AD" else (model, "avg")
        with untouched(model, x, attribution):
            found = sufficient_explanation(
                forward, x, attribution, answer(model, x), search=search, minimize=minimize, baseline=baseline
            )
        for tensor in (found.mask, found.curve.values, found.curve.sizes, found.curve.class_kept):
            assert not tensor.requires_grad

    def test_it_is_printed_on_one_line(self, hide):
        forward, options = hide(one_pixel((0, 1, 2)))
        ranking = torch.arange(16.0, 0, -1).reshape(4, 4)
        found = sufficient_explanation(forward, torch.ones(1, 1, 4, 4), ranking, 1, (0.9, 0.95), **options)
        line = "SufficientExplanation(size=0.438, confidence=0.953, gamma={}, target=1, found=True)"
        assert repr(found) == f"({line.format(0.9)}, {line.format(0.95)})"
        forward, options = hide(linear(torch.zeros(3, 1, 2, 2), (2.0, 1.0, 0.0)))
        none = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.0, allow_other_target=True, **options)
        assert repr(none) == "SufficientExplanation(size=nan, confidence=nan, gamma=0, target=1, found=False)"

    def test_the_same_again(self):
        model, x = small_net(0), noise(0, (1, 2, 6, 6))
        arguments = (ADForward(model), x, noise(1, (6, 6)), answer(model, x))
        first, second = (sufficient_explanation(*arguments) for _ in range(2))
        assert torch.equal(first.curve.values, second.curve.values)
        assert torch.equal(first.mask, second.mask)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, hide, dtype):
        """Margins that any precision holds; confidences in float32."""
        forward, options = hide(seesaw(3, -4, 5, 0).to(dtype))
        found = sufficient_explanation(forward, ONES.to(dtype), DESCENDING.to(dtype), 1, 0.93, **options)
        assert found.curve.values.tolist() == pytest.approx([sigmoid(m) for m in (-1, 2, -2, 3, 3)])
        assert found.size == 0.75

    def test_progress_is_shown_only_when_asked(self, capsys):
        arguments = (seesaw(3, -4, 5, 0), ONES, DESCENDING, 1)
        sufficient_explanation(*arguments, baseline=0)
        assert capsys.readouterr().err == ""
        sufficient_explanation(*arguments, baseline=0, show_progress=True)
        assert "Sufficient explanation" in capsys.readouterr().err

    def test_the_curve_is_good_for_its_area(self):
        found = sufficient_explanation(seesaw(3, -4, 5, 0), ONES, DESCENDING, 1, baseline=0)
        values = [sigmoid(m) for m in (-1, 2, -2, 3, 3)]
        assert found.curve.area == pytest.approx(reference.area([0, 0.25, 0.5, 0.75, 1], values))


class TestEmpty:
    """A network whose answer to nothing is the class: no part of the input explains it."""

    def found(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[0.01], [0.0]]).expand(2, 16))
            model[1].bias.copy_(torch.tensor([2.0, -2.0]))
        x = torch.rand(1, 1, 4, 4)
        with pytest.warns(EmptyExplanationWarning, match=r"everything hidden \(γ = 0.5\)"):
            return model, x, sufficient_explanation(model, x, x, 0, (0.5, 1.0), baseline="zero")

    def test_is_flagged(self):
        _, _, (empty, other) = self.found()
        assert empty.empty
        assert empty.found
        assert empty.size == 0
        assert other.size > 0
        assert not other.empty

    def test_so_is_its_rho(self):
        model, x, (empty, other) = self.found()
        assert rho_robustness(model, x, empty, 0, SolidColors(n=3)).empty
        assert not rho_robustness(model, x, other, 0, SolidColors(n=3)).empty

    def test_metrics_count_it_and_leave_it_out(self):
        _, x, explanations = self.found()
        metric = ExplanationSize()
        for one in explanations:
            metric.update(x, one)
        assert float(metric.compute()) == pytest.approx(explanations[1].size)
        assert (int(metric.count), int(metric.empty)) == (1, 1)
        metric.reset()
        assert int(metric.empty) == 0
