"""Frames of reference against a loop over α, signs on a network with a known answer, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import FrameScore, frame_curve
from captum_ad.metrics.frames import ALPHAS
from captum_ad.targets import Class, Contrast, Group
from tests.metrics.models import linear, noise, small_net

MODEL, X, MAP = small_net(4, classes=5), noise(1, (1, 2, 6, 6)), noise(2, (6, 6))
QUESTIONS = {
    "contrastive class": Contrast(0, 3),
    "pointwise group": Group([1, 4]),
    "contrastive group to class": Contrast(Group([0, 1]), 4),
    "contrastive group to group": Contrast(Group([0, 1]), Group([2, 3])),
}


def by_hand(forward: nn.Module, question: Contrast | Group) -> tuple[list[float], float]:
    """Drops for each α, and their area, by sorting positions and adding up probabilities one by one."""
    order = sorted(range(36), key=lambda i: -float(MAP.flatten()[i]))

    def value(gone: list[int]) -> float:
        mask = torch.ones(36, dtype=torch.bool)
        mask[gone] = False
        with torch.no_grad():
            p = forward(X, mask=mask.reshape(6, 6)).softmax(1)[0].tolist()
        if isinstance(question, Group):
            return sum(p[i] for i in question.indices)
        return sum(p[i] for i in question.a.indices) - sum(p[i] for i in question.b.indices)

    counts = [round(alpha * 36) for alpha in ALPHAS]
    drops = [value([]) - value(order[:count]) for count in counts]
    area = sum((a + b) / 2 * (n - m) / 36 for a, b, m, n in zip(drops, drops[1:], counts, counts[1:], strict=False))
    return drops, area / ((counts[-1] - counts[0]) / 36)


class TestReference:
    @pytest.mark.parametrize("kind", QUESTIONS)
    @pytest.mark.parametrize("baseline", [None, "zero", "avg"])
    def test_is_the_loop(self, kind, baseline):
        question = QUESTIONS[kind]
        forward = ADForward(MODEL) if baseline is None else BaselineForward(MODEL, baseline)
        given = ADForward(MODEL) if baseline is None else MODEL
        found = frame_curve(given, X, MAP, question, baseline=baseline)
        drops, area = by_hand(forward, question)
        assert found.kind == kind
        assert found.values.tolist() == pytest.approx(drops)
        assert found.area == pytest.approx(area)

    def test_the_question_may_be_the_forwards(self):
        question = QUESTIONS["contrastive class"]
        one, other = (
            frame_curve(ADForward(MODEL, target=question), X, MAP),
            frame_curve(ADForward(MODEL), X, MAP, question),
        )
        assert torch.equal(one.values, other.values)

    def test_contrastive_is_a_difference_of_pointwise_ones(self):
        both = frame_curve(ADForward(MODEL), X, MAP, Contrast(Group([0, 1]), Group([2, 3])))
        a, b = (frame_curve(ADForward(MODEL), X, MAP, Group(indices)) for indices in ([0, 1], [2, 3]))
        assert both.area == pytest.approx(a.area - b.area)
        assert both.whole == pytest.approx(a.whole - b.whole)

    def test_groups_of_positions(self):
        tiles = torch.arange(9).reshape(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1)
        found = frame_curve(ADForward(MODEL), X, MAP, Group([1, 4]), feature_mask=tiles, alphas=[0.3, 0.6, 1.0])
        assert found.sizes.tolist() == pytest.approx([3 / 9, 5 / 9, 1])


def corners() -> tuple[nn.Module, Tensor]:
    """Two dogs and a cat, each by a corner's brightness; both dogs like the upper left one, too."""
    weights = torch.zeros(3, 1, 4, 4)
    weights[0, 0, 0, 0] = weights[1, 0, 0, 3] = weights[2, 0, 3, 3] = 4
    weights[:2, 0, 0, 1] = 4
    return linear(weights, (0.0, 0.0, 0.0)), torch.ones(1, 1, 4, 4)


def pointing(*places: tuple[int, int]) -> Tensor:
    found = torch.zeros(4, 4)
    for rank, place in enumerate(places):
        found[place] = 10 - rank
    return found


class TestSigns:
    """α of a 16th each, so that one position after the other goes."""

    ONE = (1 / 16, 2 / 16)

    def area(self, question, *places):
        model, x = corners()
        return frame_curve(model, x, pointing(*places), question, baseline="zero", alphas=self.ONE).area

    def test_masking_what_speaks_for_a_is_good_and_for_b_bad(self):
        rather = Contrast(0, 1)
        empty = (2, 1)
        assert self.area(rather, (0, 0), empty) > 0.3
        assert self.area(rather, (0, 3), empty) < -0.3
        assert self.area(rather, (3, 3), empty) == pytest.approx(0, abs=1e-6)

    def test_what_both_share_counts_for_the_group_and_not_between_them(self):
        shared, empty = (0, 1), (2, 1)
        assert self.area(Contrast(0, 1), shared, empty) == pytest.approx(0, abs=1e-6)
        assert self.area(Group([0, 1]), shared, empty) > 0.05
        assert self.area(Contrast(Group([0, 1]), 2), shared, empty) > 0.1
        assert self.area(Contrast(2, Group([0, 1])), shared, empty) < -0.1

    def test_kinds_beside_the_four_say_so(self):
        model, x = corners()
        kinds = [
            frame_curve(model, x, MAP[:4, :4], question, baseline="zero").kind
            for question in (Contrast(2, Group([0, 1])), Group([2]))
        ]
        assert kinds == ["contrastive class to group", "pointwise class"]


class TestClass:
    def test_is_the_mean(self):
        metric = FrameScore(baseline="avg", batch_size=3)
        areas = []
        for seed in range(3):
            values = noise(seed, (6, 6))
            metric.update(MODEL, X, values, Contrast(0, 3))
            areas.append(frame_curve(MODEL, X, values, Contrast(0, 3), baseline="avg").area)
        assert float(metric.compute()) == pytest.approx(sum(areas) / 3)
        with pytest.raises(ValueError, match="batch_size"):
            FrameScore(batch_size=0)


class TestBadInput:
    @pytest.mark.parametrize("target", [3, Class(3)])
    def test_other_targets(self, target):
        with pytest.raises(TypeError, match=r"expected a Contrast or a Group .*use deletion_curve"):
            frame_curve(ADForward(MODEL), X, MAP, target)

    def test_groups_that_overlap(self):
        with pytest.raises(ValueError, match=r"got \[1\] on both sides"):
            Contrast(Group([0, 1]), Group([1, 2]))

    @pytest.mark.parametrize("alphas", [[0.5], [0.5, 0.4], [0.0, 0.5], [0.5, 1.2], []])
    def test_alphas(self, alphas):
        with pytest.raises(ValueError, match=r"alphas must be|a share that is masked"):
            frame_curve(ADForward(MODEL), X, MAP, Group([1, 2]), alphas=alphas)

    def test_everything_else(self):
        with pytest.raises(ValueError, match="target 7 is out of range"):
            frame_curve(ADForward(MODEL), X, MAP, Contrast(0, 7))
        with pytest.raises(ValueError, match="needs a baseline"):
            frame_curve(MODEL, X, MAP, Contrast(0, 1))
        with pytest.raises(TypeError, match="there is no target"):
            frame_curve(ADForward(MODEL), X, MAP)
