"""Similarity of attributions against references by loops, scikit-image and scipy, and what is known of rankings."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from captum_ad.metrics import rank_biased_overlap, rank_correlation, ssim, top_overlap
from captum_ad.metrics.similarity import SIMILARITIES, rbo_similarity, segment_ranking
from tests.metrics.models import noise

permutations = st.integers(1, 12).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n))))


def by_hand(one: list[int], other: list[int], p: float) -> float:
    """The definition, depth by depth: agreement at a depth, weighted by p to that depth; the last goes on for ever."""
    total = 0.0
    for depth in range(1, len(one) + 1):
        total += (1 - p) * p ** (depth - 1) * len(set(one[:depth]) & set(other[:depth])) / depth
    return total + p ** len(one) * len(set(one) & set(other)) / len(one)


class TestRankBiasedOverlap:
    @given(permutations, st.sampled_from([0.1, 0.5, 0.9, 0.99]))
    def test_is_the_definition(self, rankings, p):
        one, other = rankings
        found = rank_biased_overlap(one, other, p)
        assert found == pytest.approx(by_hand(list(one), list(other), p))
        assert found == pytest.approx(rank_biased_overlap(other, one, p))
        assert 0 <= found <= 1 + 1e-12

    def test_extremes(self):
        assert rank_biased_overlap(range(5), range(5)) == pytest.approx(1)
        assert rank_biased_overlap([0, 1], [2, 3]) == 0

    def test_the_top_counts_most(self):
        first, last = [1, 0, *range(2, 10)], [*range(8), 9, 8]
        assert rank_biased_overlap(range(10), first) < rank_biased_overlap(range(10), last)
        # the first ten ranks' share of the weight, as the source says of p = .9
        other = [*range(10), *range(100, 200)]
        assert rank_biased_overlap(range(110), other) == pytest.approx(0.86, abs=0.03)

    @pytest.mark.parametrize(
        ("one", "other", "p", "match"),
        [
            ([0, 1], [0], 0.9, "equal length, got 2 and 1"),
            ([], [], 0.9, "got 0 and 0"),
            ([0, 0], [0, 1], 0.9, "ranked twice"),
            ([0], [0], 1, "p must be a number between 0 and 1, got 1"),
            ([0], [0], "high", "p must be"),
        ],
    )
    def test_refusals(self, one, other, p, match):
        with pytest.raises(ValueError, match=match):
            rank_biased_overlap(one, other, p)


class TestSegments:
    def test_by_mean_over_positions_and_sum_over_channels(self):
        segments = torch.tensor([[7, 7, 3], [7, 9, 9]])
        values = torch.tensor([[[0.0, 3, 1], [0, 5, 1]], [[0, 0, 1], [0, 0, 1]]])  # means: 7 has 1, 3 has 2, 9 has 3.5
        assert segment_ranking(values, segments).tolist() == [9, 3, 7]

    def test_ties_by_label_and_nothing_ranked(self):
        segments = torch.tensor([[2, 1], [0, 0]])
        assert segment_ranking(torch.tensor([[1.0, 1], [0, 0]]), segments).tolist() == [1, 2, 0]
        assert segment_ranking(torch.full((2, 2), 0.3), segments) is None
        assert math.isnan(rbo_similarity(torch.ones(2, 2), torch.eye(2), segments))

    def test_segments_are_needed_and_fit(self):
        with pytest.raises(ValueError, match="needs segments"):
            rbo_similarity(torch.eye(2), torch.eye(2), None)
        with pytest.raises(ValueError, match="feature mask has shape"):
            rbo_similarity(torch.eye(2), torch.eye(2), torch.zeros(3, 3, dtype=torch.int64))


class TestOthers:
    @pytest.mark.parametrize("shape", [(9, 11), (7, 7), (5, 6)])
    def test_ssim_is_scikit_images(self, shape):
        one, other = noise(0, shape), noise(1, shape)
        scaled = [((a - a.min()) / (a.max() - a.min())).numpy() for a in (one, other)]
        side = min(7, *shape) - (1 - min(7, *shape) % 2)
        expected = structural_similarity(*scaled, data_range=1.0, win_size=side, full=True)[1]
        pad = side // 2  # scikit-image's mean leaves the border out, as windows that fit do
        inner = expected[pad : shape[0] - pad, pad : shape[1] - pad].mean()
        assert ssim(one, other) == pytest.approx(inner)
        assert ssim(one, 3 * one + 1) == pytest.approx(1)

    def test_rank_correlation_by_hand(self):
        one, other = torch.tensor([[1.0, 2], [3, 10]]), torch.tensor([[1.0, 3], [2, 4]])
        assert rank_correlation(one, other) == pytest.approx(0.8)  # 1 − 6 · (1 + 1) / (4 · 15)

    def test_top_overlap_by_hand(self):
        one, other = torch.arange(10.0).reshape(2, 5), torch.arange(10.0).reshape(2, 5)
        other[1, 4] = -1  # 8 and 9 against 7 and 8
        assert top_overlap(one, other, share=0.2) == pytest.approx(1 / 3)
        assert top_overlap(one, other, share=0.001) == 0
        with pytest.raises(ValueError, match="share must be"):
            top_overlap(one, other, share=0)

    @pytest.mark.parametrize("name", sorted(set(SIMILARITIES) - {"rbo"}))
    def test_constant_maps_have_no_similarity(self, name):
        assert math.isnan(SIMILARITIES[name](torch.ones(8, 8), noise(0, (8, 8)), None))
        assert math.isnan(SIMILARITIES[name](noise(0, (8, 8)), torch.zeros(8, 8), None))

    @pytest.mark.parametrize("name", sorted(set(SIMILARITIES) - {"rbo"}))
    def test_shapes_and_nan(self, name):
        with pytest.raises(ValueError, match=r"equal shape, got \(8, 8\) and \(7, 8\)"):
            SIMILARITIES[name](torch.rand(8, 8), torch.rand(7, 8), None)
        with pytest.raises(ValueError, match="NaN or Inf"):
            SIMILARITIES[name](torch.full((8, 8), math.nan), torch.rand(8, 8), None)
