"""Sufficient explanations: models worked out by hand, the definition in loops, and what a search costs."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import PAPER_GAMMAS, sufficient_explanation
from tests.metrics import reference
from tests.metrics.models import (
    CORNERS,
    answer,
    batches,
    border_colour,
    linear,
    noise,
    one_pixel,
    seesaw,
    sigmoid,
    small_net,
    two_patches,
    untouched,
)

ONES = torch.ones(1, 1, 2, 2)
DESCENDING = torch.tensor([[4.0, 3.0], [2.0, 1.0]])
PRESETS = ["paper", "no-growth", "no-growth-mean"]


@pytest.fixture(params=["AD", "baseline"])
def hide(request):
    """The two ways to hide features of a plain model; those of a linear one are zero under both."""

    def arguments(model):
        return (ADForward(model), {}) if request.param == "AD" else (model, {"baseline": "zero"})

    return arguments


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
        assert found.curve.kept.tolist() == [value > 0.5 for value in values]
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

    def test_useless_positions_between_the_patches_are_taken_along_unless_minimised(self, hide):
        forward, options = hide(two_patches())
        attribution = (CORNERS == 0) * 3.0 + (CORNERS == 2) * 2.0
        arguments = (forward, torch.ones(1, 1, 4, 4), attribution, 1, 0.9)
        prefix = sufficient_explanation(*arguments, feature_mask=CORNERS, **options)
        assert prefix.size == 1
        least = sufficient_explanation(*arguments, feature_mask=CORNERS, minimise=True, **options)
        assert torch.equal(least.mask, CORNERS != 2)
        assert least.confidence == pytest.approx(sigmoid(2))

    @pytest.mark.parametrize(("gamma", "border_pixels"), [(0.0, 1), (0.3, 1), (0.9, 10), (1.0, 20)])
    @pytest.mark.parametrize("border_first", [True, False])
    def test_the_colour_of_the_border(self, hide, gamma, border_pixels, border_first):
        """With b of 20 red pixels the logits are (0.3 b, 0, 0): e^2.84 / (e^2.84 + 2) is 0.9 times that of b = 20."""
        forward, options = hide(border_colour())
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
        assert found.curve.kept.tolist() == [False, True, False, True, True]
        assert (found.size, found.confidence) == (size, pytest.approx(sigmoid(margin)))

    def test_minimising_leaves_out_what_speaks_against_the_class(self, hide):
        """+3, -4, +5: not the +5, then the -4, then the +3 can go."""
        forward, options = hide(seesaw(3, -4, 5, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.95, minimise=True, **options)
        assert found.mask.tolist() == [[False, False], [True, False]]
        assert (found.size, found.confidence) == (0.25, pytest.approx(sigmoid(4)))

    def test_minimising_goes_round_until_nothing_changes(self, hide):
        """-4, +5, +3: the +3 cannot go at first, but once the -4 has gone."""
        forward, options = hide(seesaw(-4, 5, 3, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.9, minimise=True, **options)
        assert found.mask.tolist() == [[False, True], [False, False]]

    def test_nothing_suffices_where_the_class_is_the_answer_to_nothing(self, hide):
        forward, options = hide(linear(torch.zeros(2, 1, 2, 2), (0.0, 1.0)))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, minimise=True, **options)
        assert (found.found, found.size, found.confidence) == (True, 0, pytest.approx(sigmoid(1)))
        assert not found.mask.any()

    def test_a_tie_is_nobodys(self, hide):
        """+1 makes the logits equal; only the second pixel decides."""
        forward, options = hide(seesaw(1, 2, 0, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, 0.0, **options)
        assert found.curve.kept.tolist() == [False, False, True, True, True]
        assert found.size == 0.5

    @pytest.mark.parametrize(
        ("activation", "values"),
        [
            ("softmax", [sigmoid(-1), sigmoid(2), sigmoid(-2), sigmoid(3), sigmoid(3)]),
            ("sigmoid", [sigmoid(0), sigmoid(3), sigmoid(-1), sigmoid(4), sigmoid(4)]),
            ("none", [0, 3, -1, 4, 4]),
            (lambda output: 2 * output, [0, 6, -2, 8, 8]),
        ],
    )
    def test_activations(self, hide, activation, values):
        forward, options = hide(seesaw(3, -4, 5, 0))
        found = sufficient_explanation(forward, ONES, DESCENDING, 1, activation=activation, **options)
        assert found.curve.values.tolist() == pytest.approx(values)


@st.composite
def problems(draw):
    """A small random network, an input, an attribution, and a way to rank and hide."""
    shape = draw(st.sampled_from([(2, 6, 5), (1, 4, 4), (2, 8), (1, 4, 2, 3)]))
    model, x = small_net(draw(st.integers(0, 50)), shape), noise(draw(st.integers(0, 50)), (1, *shape))
    attribution = noise(draw(st.integers(0, 50)), shape)
    if draw(st.booleans()):
        attribution = attribution.round()
    labels, step = None, draw(st.integers(1, 5))
    if draw(st.booleans()):
        labels, step = (3 * noise(draw(st.integers(0, 50)), shape[1:])).long(), draw(st.integers(1, 2))
    paint = draw(st.sampled_from(["AD", "value", "tensor"]))
    if paint == "AD":
        forward = ADForward(model, draw(st.sampled_from(PRESETS)))
        return model, x, attribution, labels, step, forward, None
    baseline = 0.3 if paint == "value" else noise(draw(st.integers(0, 50)), shape)[None]
    return model, x, attribution, labels, step, model, baseline


def view_of(problem, target):
    _, x, _, _, _, forward, baseline = problem
    if baseline is None:
        return reference.view_masked(forward, x, target)
    return reference.view_painted(forward, x, torch.zeros_like(x) + baseline, target)


class TestAgainstTheDefinition:
    @settings(max_examples=40)
    @given(problems(), st.lists(st.floats(0, 0.99), min_size=1, max_size=4), st.integers(1, 7))
    def test_the_shortest_sufficient_prefix(self, problem, gammas, batch_size):
        model, x, attribution, labels, step, forward, baseline = problem
        target = answer(model, x)
        found = sufficient_explanation(
            forward,
            x,
            attribution,
            target,
            gammas,
            baseline=baseline,
            feature_mask=labels,
            step=step,
            batch_size=batch_size,
        )
        steps = reference.ranking(attribution, reference.count(x), labels, step)
        view = view_of(problem, target)
        curve = reference.insertion(view, steps)
        assert [one.gamma for one in found] == gammas
        for one in found:
            expected = reference.sufficient(view, steps, one.gamma)
            assert one.found
            assert reference.as_set(one.mask) == expected
            assert one.size == pytest.approx(len(expected) / reference.count(x))
            assert one.confidence == pytest.approx(view(expected)[0])
            assert one.original_confidence == pytest.approx(curve[-1][0])
            assert one.curve.sizes.tolist() == reference.sizes(steps)
            assert one.curve.values.tolist() == pytest.approx([confidence for confidence, _ in curve])
            assert one.curve.kept.tolist() == [kept for _, kept in curve]

    @settings(max_examples=25)
    @given(problems(), st.floats(0, 0.99), st.integers(1, 7))
    def test_minimising_is_leaving_out_one_step_at_a_time(self, problem, gamma, batch_size):
        model, x, attribution, labels, step, forward, baseline = problem
        target = answer(model, x)
        ranking = {"feature_mask": labels, "step": step}
        options = ranking | {"baseline": baseline, "batch_size": batch_size, "minimise": True}
        found = sufficient_explanation(forward, x, attribution, target, gamma, **options)
        steps, view = reference.ranking(attribution, reference.count(x), labels, step), view_of(problem, target)
        expected = reference.minimal(view, steps, gamma)
        present = reference.as_set(found.mask)
        assert present == expected
        confidence, kept = view(present)
        assert kept
        assert confidence >= gamma * found.original_confidence - 1e-12
        assert (found.confidence, found.size) == pytest.approx((confidence, len(present) / reference.count(x)))
        for one in steps:  # 1-minimal
            if set(one) <= present:
                assert not reference.suffices(view, present - set(one), gamma, found.original_confidence)

    @settings(max_examples=25)
    @given(problems())
    def test_a_higher_threshold_takes_no_less(self, problem):
        model, x, attribution, labels, step, forward, baseline = problem
        found = sufficient_explanation(
            forward,
            x,
            attribution,
            answer(model, x),
            PAPER_GAMMAS,
            baseline=baseline,
            feature_mask=labels,
            step=step,
        )
        assert [one.gamma for one in found] == list(PAPER_GAMMAS)
        for lower, higher in itertools.pairwise(found):
            assert (higher.mask | ~lower.mask).all()

    def test_named_baselines_are_painted(self):
        model, x = small_net(3), noise(4, (1, 2, 6, 6))
        target, attribution = answer(model, x), noise(5, (6, 6))
        for name, value in {"min": x.min(), "max": x.max(), "avg": x.mean(), "zero": torch.tensor(0.0)}.items():
            found = sufficient_explanation(model, x, attribution, target, 0.5, baseline=name, step=4)
            view = reference.view_painted(model, x, torch.zeros_like(x) + value, target)
            steps = reference.ranking(attribution, 36, step=4)
            expected = [confidence for confidence, _ in reference.insertion(view, steps)]
            assert found.curve.values.tolist() == pytest.approx(expected), name

    def test_a_function_of_image_and_mask_is_painted(self):
        model, x = small_net(3), noise(4, (1, 2, 6, 6))
        target, attribution = answer(model, x), noise(5, (6, 6))
        found = sufficient_explanation(model, x, attribution, target, 0.5, baseline=lambda x, mask: -x, step=4)
        steps, view = reference.ranking(attribution, 36, step=4), reference.view_painted(model, x, -x, target)
        expected = [confidence for confidence, _ in reference.insertion(view, steps)]
        assert found.curve.values.tolist() == pytest.approx(expected)

    def test_a_wrapped_forward_is_taken_as_it_is(self):
        model, x = small_net(3), noise(4, (1, 2, 6, 6))
        arguments = (x, noise(5, (6, 6)), answer(model, x), 0.5)
        wrapped = sufficient_explanation(BaselineForward(model, "avg"), *arguments)
        given_ = sufficient_explanation(model, *arguments, baseline="avg")
        assert torch.equal(wrapped.mask, given_.mask)
        assert torch.equal(wrapped.curve.values, given_.curve.values)


class TestBisection:
    @staticmethod
    def monotone(seed, side=8):
        """Every pixel speaks for class 1, so that confidence grows along any ranking."""
        weights = torch.zeros(2, 1, side, side)
        weights[1] = noise(seed, (1, side, side), torch.float32).abs()
        weights /= weights.sum()
        return linear(8 * weights, (3.0, 0.0))

    @given(st.integers(0, 99), st.floats(0, 1), st.integers(1, 9))
    def test_equals_the_scan_where_confidence_grows(self, seed, gamma, batch_size):
        model, attribution = self.monotone(seed), noise(seed + 1, (8, 8))
        arguments = (model, torch.ones(1, 1, 8, 8), attribution, 1, gamma)
        options = {"baseline": "zero", "step": 1, "batch_size": batch_size}
        scan = sufficient_explanation(*arguments, **options)
        quick = sufficient_explanation(*arguments, search="bisection", **options)
        assert torch.equal(quick.mask, scan.mask)
        assert (quick.size, quick.found) == (scan.size, True)
        assert quick.confidence == pytest.approx(scan.confidence)

    @pytest.mark.parametrize("batch_size", [1, 4, 16])
    def test_looks_at_few_prefixes(self, batch_size):
        """A batch of B splits what is left into B + 1 parts."""
        model, attribution = self.monotone(0, 16), noise(1, (16, 16))
        arguments = {"baseline": "zero", "step": 1, "batch_size": batch_size, "search": "bisection"}
        with batches(model) as sizes:
            found = sufficient_explanation(model, torch.ones(1, 1, 16, 16), attribution, 1, 0.8, **arguments)
        rounds = math.ceil(math.log(257, batch_size + 1)) + 1
        assert len(sizes) <= 1 + rounds
        assert sum(sizes) <= 1 + rounds * batch_size
        assert max(sizes) <= batch_size
        assert len(found.curve.sizes) == sum(sizes)

    def test_the_curve_has_what_was_looked_at_in_order(self):
        model, x = small_net(1), noise(2, (1, 2, 6, 6))
        attribution = noise(3, (6, 6))
        arguments = (ADForward(model), x, attribution, answer(model, x), (0.2, 0.9))
        quick = sufficient_explanation(*arguments, step=1, search="bisection")[0].curve
        scan = sufficient_explanation(*arguments, step=1)[0].curve
        assert (quick.sizes.diff() > 0).all()
        assert quick.sizes[-1] == 1
        at = torch.searchsorted(scan.sizes, quick.sizes)
        torch.testing.assert_close(quick.values, scan.values[at])
        assert torch.equal(quick.kept, scan.kept[at])
        assert len(at) < len(scan.sizes)

    @settings(max_examples=20)
    @given(problems(), st.floats(0, 1), st.integers(1, 5))
    def test_what_it_finds_does_suffice_and_what_is_next_to_it_does_not(self, problem, gamma, batch_size):
        model, x, attribution, labels, step, forward, baseline = problem
        target = answer(model, x)
        options = {"feature_mask": labels, "step": step, "baseline": baseline, "batch_size": batch_size}
        found = sufficient_explanation(forward, x, attribution, target, gamma, search="bisection", **options)
        scan = sufficient_explanation(forward, x, attribution, target, gamma, **options)
        assert found.found
        at = int((scan.curve.sizes - found.size).abs().argmin())
        enough = scan.curve.kept & (scan.curve.values >= gamma * scan.original_confidence)
        enough[-1] = True
        assert enough[at]
        assert at == 0 or not enough[at - 1]

    def test_where_nothing_is_found_it_ends(self):
        """Class 2 is never the answer."""
        model = linear(torch.zeros(3, 1, 8, 8), (2.0, 1.0, 0.0))
        options = {"baseline": 0.0, "allow_other_target": True, "search": "bisection", "step": 1}
        found = sufficient_explanation(model, torch.ones(1, 1, 8, 8), noise(0, (8, 8)), 2, (0.0, 0.5, 1.0), **options)
        assert [one.found for one in found] == [False] * 3


class TestCost:
    @pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
    @pytest.mark.parametrize("gammas", [0.9, PAPER_GAMMAS])
    def test_a_scan_runs_every_prefix_once_in_full_batches(self, hide, batch_size, gammas):
        model = one_pixel((0, 3, 3))
        forward, options = hide(model)
        with batches(model) as sizes:
            sufficient_explanation(
                forward,
                torch.ones(1, 1, 4, 4),
                noise(0, (4, 4)),
                1,
                gammas,
                step=1,
                batch_size=batch_size,
                **options,
            )
        assert sum(sizes) <= 16 + 1  # n steps, and the whole input
        full, rest = divmod(16, batch_size)
        assert sorted(sizes) == sorted([1] + [batch_size] * full + [rest] * (rest > 0))

    @pytest.mark.parametrize("batch_size", [1, 3, 50])
    def test_minimising_keeps_to_the_batch_size(self, hide, batch_size):
        model = two_patches()
        forward, options = hide(model)
        with batches(model) as sizes:
            found = sufficient_explanation(
                forward,
                torch.ones(1, 1, 4, 4),
                -(CORNERS == 1).float(),
                1,
                step=1,
                minimise=True,
                batch_size=batch_size,
                **options,
            )
        assert found.size == 0.5
        assert max(sizes) <= batch_size
        if batch_size == 1:  # 16 prefixes and the whole; 16 trials, 8 of which stay; those once more
            assert sum(sizes) == 17 + 16 + 8

    def test_no_more_at_once_than_asked_for_whatever_the_step(self):
        model = small_net(0)
        x = noise(0, (1, 2, 6, 6))
        for step in (1, 5, 36, 100):
            with batches(model) as sizes:
                sufficient_explanation(
                    ADForward(model), x, noise(0, (6, 6)), answer(model, x), step=step, batch_size=3, minimise=True
                )
            assert max(sizes) <= 3

    @settings(max_examples=15)
    @given(problems(), st.booleans())
    def test_the_batch_size_is_no_matter(self, problem, minimise):
        model, x, attribution, labels, step, forward, baseline = problem
        options = {"feature_mask": labels, "step": step, "baseline": baseline, "minimise": minimise}
        arguments = (forward, x, attribution, answer(model, x), (0.0, 0.3, 0.77))
        one_by_one = sufficient_explanation(*arguments, batch_size=1, **options)
        for batch_size in (2, 5, 1000):
            for one, other in zip(one_by_one, sufficient_explanation(*arguments, batch_size=batch_size, **options)):
                assert torch.equal(one.mask, other.mask)
                assert one.confidence == pytest.approx(other.confidence)
                torch.testing.assert_close(one.curve.values, other.curve.values)


class TestOtherTargets:
    def test_are_refused_with_the_way_out(self, hide):
        forward, options = hide(one_pixel((0, 0, 0), (1, 2, 2)))
        with pytest.raises(ValueError, match=r"class 0 is not the model's answer.*0\.0474.*allow_other_target=True"):
            sufficient_explanation(forward, ONES, DESCENDING, 0, **options)

    def test_are_searched_for_when_allowed(self, hide):
        """Before the pixel is there the answer is class 0."""
        forward, options = hide(one_pixel((0, 0, 1), (1, 2, 2)))
        found = sufficient_explanation(forward, ONES, DESCENDING, 0, allow_other_target=True, **options)
        assert (found.found, found.size, found.confidence) == (True, 0, pytest.approx(sigmoid(1)))
        assert found.original_confidence == pytest.approx(sigmoid(-3))

    @pytest.mark.parametrize("minimise", [False, True])
    def test_may_not_be_found_and_the_curve_is_there_all_the_same(self, hide, minimise):
        forward, options = hide(linear(torch.zeros(3, 1, 2, 2), (2.0, 1.0, 0.0)))
        found = sufficient_explanation(
            forward, ONES, DESCENDING, 1, 0.0, allow_other_target=True, minimise=minimise, **options
        )
        assert not found.found
        assert math.isnan(found.size)
        assert math.isnan(found.confidence)
        assert found.mask.shape == (2, 2)
        assert not found.mask.any()
        share = math.e / (1 + math.e + math.e**2)
        assert found.curve.values.tolist() == pytest.approx([share] * 5)
        assert found.curve.sizes.tolist() == [0, 0.25, 0.5, 0.75, 1]
        assert not found.curve.kept.any()


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
    @pytest.mark.parametrize("minimise", [False, True])
    @pytest.mark.parametrize("kind", ["AD", "baseline"])
    def test_nothing_is_changed_and_no_graph_is_kept(self, search, minimise, kind):
        model, x = small_net(0), noise(0, (1, 2, 6, 6)).requires_grad_()
        attribution = noise(1, (2, 6, 6)).requires_grad_()
        forward, baseline = (ADForward(model), None) if kind == "AD" else (model, "avg")
        with untouched(model, x, attribution):
            found = sufficient_explanation(
                forward, x, attribution, answer(model, x), search=search, minimise=minimise, baseline=baseline
            )
        for tensor in (found.mask, found.curve.values, found.curve.sizes, found.curve.kept):
            assert not tensor.requires_grad

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
    arguments = dict(zip(("forward", "x", "attribution", "target"), GOOD)) | {"baseline": 0.0}
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
        with pytest.raises(ValueError, match="empty sequence: give one"):
            sufficient_explanation(**good_but(gamma=gamma))

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"baseline": None}, ValueError, r"plain model needs a baseline.*ADForward\(model\)"),
            ({"forward": ADForward(GOOD[0])}, ValueError, "baseline was given with ADForward.*leave it out"),
            ({"forward": BaselineForward(GOOD[0], 1.0)}, ValueError, "baseline was given with BaselineForward"),
            ({"baseline": "grey"}, ValueError, "unknown baseline 'grey'"),
            ({"baseline": [0.0]}, TypeError, "got list"),
            ({"forward": lambda x: x}, TypeError, "torch.nn.Module, got function"),
            ({"forward": seesaw(1, 1, 1, 1).train()}, ValueError, r"train mode.*model\.eval\(\)"),
            ({"forward": ADForward(seesaw(1, 1, 1, 1).train()), "baseline": None}, ValueError, "train mode"),
            ({"x": ONES.expand(2, 1, 2, 2)}, ValueError, r"one input.*\(2, 1, 2, 2\).*one at a time"),
            ({"x": ONES[0, 0]}, ValueError, r"\(1, C, \*spatial\), got \(2, 2\)"),
            ({"attribution": torch.ones(3, 3)}, ValueError, r"\(3, 3\), expected that of the input, \(1, 1, 2, 2\)"),
            ({"attribution": DESCENDING / 0}, ValueError, "NaN or Inf"),
            ({"attribution": DESCENDING * torch.nan}, ValueError, "NaN or Inf"),
            ({"target": 2}, ValueError, "target 2 is out of range: the model has classes 0 to 1"),
            ({"target": -1}, (TypeError, ValueError), "target.* -1"),
            ({"target": 1.0}, TypeError, "class index, got 1.0"),
            ({"target": True}, TypeError, "class index, got True"),
            ({"target": "1"}, TypeError, "class index, got '1'"),
            ({"step": 0}, ValueError, "step must be a positive integer, got 0"),
            ({"feature_mask": torch.ones(2, 2)}, ValueError, "float32, expected integer labels"),
            ({"feature_mask": torch.ones(3, 3).long()}, ValueError, r"\(3, 3\), expected \(2, 2\)"),
            ({"search": "binary"}, ValueError, 'scan" or "bisection", got \'binary\''),
            ({"activation": "tanh"}, ValueError, "softmax, sigmoid, none or a function, got 'tanh'"),
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
            (lambda x: x.flatten(1)[:, :1], ValueError, r"\(1, 1\), expected \(N, classes\), two at least"),
            (lambda x: x[:, :, 0, 0].squeeze(1), ValueError, r"\(1,\), expected \(N, classes\)"),
            (lambda x: x, ValueError, r"\(1, 1, 2, 2\), expected \(N, classes\)"),
            (lambda x: {"out": x}, TypeError, "returned dict, expected a tensor"),
        ],
    )
    def test_outputs_that_say_nothing_of_a_class(self, output, error, message):
        with pytest.raises(error, match=message):
            sufficient_explanation(**good_but(forward=returning(output), target=1))

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
    @pytest.mark.parametrize("nan_class", [0, 1])
    def test_a_class_that_is_nan_for_a_masked_input_is_refused(self, activation, nan_class):
        """A comparison with NaN is false, which would count as the class being lost."""

        def output(x):
            logits = torch.stack([torch.zeros(len(x)), torch.ones(len(x))], 1)
            logits[(x == 0).flatten(1).any(1), nan_class] = torch.nan
            return logits

        with pytest.raises(ValueError, match="NaN"):
            sufficient_explanation(**good_but(forward=returning(output), activation=activation))

    @pytest.mark.parametrize("wrong", ["x", "feature_mask"])
    def test_arrays_in_place_of_tensors(self, wrong):
        array = {"x": ONES.numpy(), "feature_mask": np.arange(4).reshape(2, 2)}[wrong]
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
            sufficient_explanation(**good_but(forward=log_softmax, activation="none"))

    def test_sigmoids_that_round_to_one_are_no_tie(self):
        """Logits 20 and 30: the answer is class 1, though both sigmoids are 1.0 in single precision."""
        confident = linear(torch.tensor([20.0, 30.0]).reshape(2, 1, 1, 1) * torch.ones(2, 1, 2, 2) / 4, (0.0, 0.0))
        assert answer(confident, ONES) == 1
        assert sufficient_explanation(**good_but(forward=confident, activation="sigmoid")).found
