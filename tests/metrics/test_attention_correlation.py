"""The mean of attention's agreement with attribution over many inputs."""

from __future__ import annotations

import pytest
import torch

from captum_ad.metrics import AttentionCorrelation, attention_correlation
from tests.metrics.models import noise


class TestMetric:
    def test_is_the_mean_and_leaves_constants_out(self):
        metric = AttentionCorrelation(query=0, correlation="spearman")
        weights = [{"a": noise(i, (1, 1, 1, 5))} for i in range(3)]
        maps = [noise(10 + i, (1, 1, 2, 2)) for i in range(3)]
        expected = [
            attention_correlation(w, m, query=0, correlation="spearman").averaged for w, m in zip(weights, maps)
        ]
        for w, m in zip(weights, maps):
            metric.update(w, m)
        metric.update(weights[0], torch.ones(1, 1, 2, 2))
        assert float(metric.compute()) == pytest.approx(sum(expected) / 3)
        assert int(metric.empty) == 1

    def test_refusal(self):
        with pytest.raises(ValueError, match="got 'tau'"):
            AttentionCorrelation(correlation="tau")
