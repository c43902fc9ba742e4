"""The search for a sufficient explanation: the definition in loops, bisection, and what it costs."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import PAPER_GAMMAS, sufficient_explanation
from tests.metrics import reference
from tests.metrics.models import CORNERS, answer, batches, linear, noise, one_pixel, small_net, two_patches

PRESETS = ["paper", "no-growth", "no-growth-mean"]


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
            assert one.curve.class_kept.tolist() == [kept for _, kept in curve]

    @settings(max_examples=25)
    @given(problems(), st.floats(0, 0.99), st.integers(1, 7))
    def test_minimizing_is_leaving_out_one_step_at_a_time(self, problem, gamma, batch_size):
        model, x, attribution, labels, step, forward, baseline = problem
        target = answer(model, x)
        ranking = {"feature_mask": labels, "step": step}
        options = ranking | {"baseline": baseline, "batch_size": batch_size, "minimize": True}
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
        assert torch.equal(quick.class_kept, scan.class_kept[at])
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
        enough = scan.curve.class_kept & (scan.curve.values >= gamma * scan.original_confidence)
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
    def test_minimizing_keeps_to_the_batch_size(self, hide, batch_size):
        model = two_patches()
        forward, options = hide(model)
        with batches(model) as sizes:
            found = sufficient_explanation(
                forward,
                torch.ones(1, 1, 4, 4),
                -(CORNERS == 1).float(),
                1,
                step=1,
                minimize=True,
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
                    ADForward(model), x, noise(0, (6, 6)), answer(model, x), step=step, batch_size=3, minimize=True
                )
            assert max(sizes) <= 3

    @settings(max_examples=15)
    @given(problems(), st.booleans())
    def test_the_batch_size_is_no_matter(self, problem, minimize):
        model, x, attribution, labels, step, forward, baseline = problem
        options = {"feature_mask": labels, "step": step, "baseline": baseline, "minimize": minimize}
        arguments = (forward, x, attribution, answer(model, x), (0.0, 0.3, 0.77))
        one_by_one = sufficient_explanation(*arguments, batch_size=1, **options)
        for batch_size in (2, 5, 1000):
            for one, other in zip(one_by_one, sufficient_explanation(*arguments, batch_size=batch_size, **options)):
                assert torch.equal(one.mask, other.mask)
                assert one.confidence == pytest.approx(other.confidence)
                torch.testing.assert_close(one.curve.values, other.curve.values)
