"""Activation deviation against a loop over positions, on networks of which one knows it, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.metrics import PathwayDeviation, activation_deviation, plot_activation_deviation
from tests.metrics.models import Odd, noise, small_net, untouched

LEFT = torch.arange(6).expand(6, 6) < 3


def by_hand(part: Tensor, whole: Tensor, chosen: Tensor) -> tuple[float, float, float]:
    """Relative L2, cosine and share, value by value."""
    apart = size = length = product = count = 0.0
    for c in range(whole.shape[1]):
        for i in range(whole.shape[2]):
            for j in range(whole.shape[3]):
                if chosen[i, j]:
                    p, w = float(part[0, c, i, j]), float(whole[0, c, i, j])
                    apart += (p - w) ** 2
                    size += w**2
                    length += p**2
                    product += p * w
                    count += 1
    return math.sqrt(apart / size), product / math.sqrt(size * length), count / whole[0].numel()


class TestReference:
    @pytest.mark.parametrize("baseline", ["zero", "avg", 0.4])
    @pytest.mark.parametrize("over", ["explanation", "everywhere"])
    def test_paint(self, baseline, over):
        model, x = small_net(0), noise(1, (1, 2, 6, 6))
        painted = BaselineForward(model, baseline).painted(x, LEFT)
        stem = nn.Sequential(*list(model)[:3])
        with torch.no_grad():
            part, whole = stem(painted), stem(x)
        chosen = LEFT if over == "explanation" else torch.ones_like(LEFT)
        found = activation_deviation(model, x, LEFT, ["2"], baseline=baseline, over=over)
        assert (float(found.relative), float(found.cosine), float(found.compared)) == pytest.approx(
            by_hand(part, whole, chosen)
        )

    @pytest.mark.parametrize("over", ["explanation", "everywhere"])
    @pytest.mark.parametrize("rule", ["no-growth", "paper"])
    def test_ad_has_zeros_where_deactivated(self, rule, over):
        model, x = small_net(0), noise(1, (1, 2, 6, 6))
        stem = nn.Sequential(*list(model)[:3]).eval()
        with torch.no_grad():  # ADForward returns zero at deactivated positions
            part, whole = ADForward(stem, rule)(x, mask=LEFT), stem(x)
        chosen = LEFT if over == "explanation" else torch.ones_like(LEFT)
        found = activation_deviation(ADForward(model, rule), x, LEFT, ["2"], over=over)
        assert (float(found.relative), float(found.cosine), float(found.compared)) == pytest.approx(
            by_hand(part, whole, chosen)
        )


class TestKnownNetworks:
    def test_of_a_network_without_neighbors_nothing_changes_on_the_explanation(self):
        model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.SiLU(), nn.Conv2d(3, 2, 1)).eval()
        for forward, baseline in ((ADForward(model), None), (model, "max"), (model, "zero")):
            found = activation_deviation(forward, torch.rand(1, 2, 6, 6), LEFT, ["0", "1", "2"], baseline=baseline)
            assert found.relative.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
            assert found.cosine.tolist() == pytest.approx([1, 1, 1])

    def test_ad_has_nothing_beside_the_explanation_and_paint_has(self):
        model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Identity()).eval()
        with torch.no_grad():
            model[0].weight.fill_(2)
        x, all_of = torch.ones(1, 1, 6, 6), "everywhere"
        assert float(activation_deviation(ADForward(model), x, LEFT, ["0"], over=all_of).relative) == pytest.approx(
            0.5**0.5
        )
        painted = activation_deviation(model, x, LEFT, ["0"], baseline=3.0, over=all_of)
        assert float(painted.relative) == pytest.approx(2 * 0.5**0.5)
        assert float(painted.cosine) == pytest.approx((1 + 3) / (2 * 5**0.5))

    def test_detectors_of_the_border_that_paint_sets_off(self):
        """A detector of vertical edges answers to gray beside white, and to nothing where nothing is."""
        edges = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), padding_mode="replicate", bias=False)
        with torch.no_grad():
            edges.weight.copy_(torch.tensor([-1.0, 0, 1]).reshape(1, 1, 1, 3))
        model = nn.Sequential(edges, nn.ReLU()).eval()
        x = torch.arange(6.0).expand(1, 1, 6, 6).contiguous()
        ad, paint = (
            float(activation_deviation(forward, x, LEFT, ["1"], baseline=baseline).relative)
            for forward, baseline in ((ADForward(model), None), (model, 40.0))
        )
        assert ad < 0.5 < 10 < paint

    @pytest.mark.parametrize("rule", ["paper", "no-growth-mean", "layer-masking"])
    def test_everything_there_is_no_deviation(self, rule):
        model, x = small_net(3), noise(2, (1, 2, 6, 6))
        found = activation_deviation(ADForward(model, rule), x, torch.ones(6, 6, dtype=torch.bool), ["0", "4", "6"])
        assert found.relative.tolist() == [0, 0, 0]
        assert found.mean == 0

    def test_nothing_there_compares_nothing(self):
        model, x = small_net(3), noise(2, (1, 2, 6, 6))
        found = activation_deviation(ADForward(model), x, torch.zeros(6, 6, dtype=torch.bool), ["0"])
        assert (bool(found.relative.isnan()), float(found.compared)) == (True, 0)
        everywhere = activation_deviation(
            ADForward(model), x, torch.zeros(6, 6, dtype=torch.bool), ["0"], over="everywhere"
        )
        assert float(everywhere.relative) == 1

    def test_what_stands_behind_the_mask_has_no_say_under_ad(self):
        model, x = small_net(5), noise(2, (1, 2, 6, 6))
        with torch.no_grad():
            whole = model[0](x)
        found = activation_deviation(ADForward(model), x, LEFT, ["0", "2", "4"])
        assert found.relative.isfinite().all()
        assert whole.isfinite().all()

    def test_layers_that_write_in_place(self):
        plain = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
        in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), *list(plain)[2:]).eval()
        x = torch.randn(1, 1, 6, 6)
        one, other = (activation_deviation(ADForward(m), x, LEFT, ["0", "1", "3"]) for m in (plain, in_place))
        assert torch.equal(one.relative, other.relative)

    def test_series_and_more_arguments(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv1d(1, 2, 3, padding=1)

            def forward(self, x, scale):
                return self.conv(x * scale).mean(2)

        keep, x = torch.arange(8) < 4, torch.rand(1, 1, 8)
        for scale in (1.0, torch.tensor([[2.0]])):
            found = activation_deviation(
                ADForward(Scaled().eval()), x, keep, ["conv"], additional_forward_args=(scale,)
            )
            assert float(found.compared) == 0.5

    def test_nothing_of_the_model_changes(self):
        model, x = small_net(0), noise(1, (1, 2, 6, 6))
        with untouched(model, x, LEFT):
            activation_deviation(ADForward(model), x, LEFT, ["0", "3"])
            with pytest.raises(UnknownNameError):
                activation_deviation(ADForward(model), x, LEFT, ["nowhere"])


class TestBadInput:
    @pytest.mark.parametrize(
        ("layers", "error", "match"),
        [
            (["first_layr"], UnknownNameError, "unknown layer 'first_layr': did you mean 'first_layer'"),
            ([""], UnknownNameError, "unknown layer ''"),
            ("first_layer", ValueError, r"write \['first_layer'\]"),
            ([], ValueError, "at least one module"),
            (["unused"], ValueError, "'unused' did not run"),
            (["pair"], TypeError, "'pair' returns tuple, expected a tensor"),
        ],
    )
    def test_layers(self, layers, error, match):
        with pytest.raises(error, match=match):
            activation_deviation(ADForward(Odd().eval()), torch.rand(1, 2, 6, 6), LEFT, layers)

    def test_everything_else(self):
        model, x = small_net(0), noise(1, (1, 2, 6, 6))
        with pytest.raises(ValueError, match="over must be one of 'explanation', 'everywhere', got 'all'"):
            activation_deviation(ADForward(model), x, LEFT, ["0"], over="all")
        with pytest.raises(ValueError, match="needs a baseline"):
            activation_deviation(model, x, LEFT, ["0"])
        with pytest.raises(ValueError, match="shape"):
            activation_deviation(ADForward(model), x, LEFT[:4], ["0"])


class TestPlot:
    def one(self, *values: float) -> PathwayDeviation:
        of = torch.tensor(values, dtype=torch.float64)
        return PathwayDeviation(tuple("abc"[: len(values)]), of, of, torch.ones_like(of))

    def test_lines_are_means(self):
        found = {"ad:paper": [self.one(0.1, 0.3), self.one(0.3, 0.5)], "avg": self.one(0.5, 1.0)}
        _, axis = plot_activation_deviation(found, use_pyplot=False)
        assert [line.get_label() for line in axis.lines] == ["ad:paper", "avg"]
        assert axis.lines[0].get_ydata().tolist() == pytest.approx([0.2, 0.4])
        assert [tick.get_text() for tick in axis.get_xticklabels()] == ["a", "b"]

    def test_refusals(self):
        with pytest.raises(ValueError, match="got none"):
            plot_activation_deviation({}, use_pyplot=False)
        with pytest.raises(ValueError, match="same layers"):
            plot_activation_deviation({"a": self.one(1), "b": self.one(1, 2)}, use_pyplot=False)
        with pytest.raises(ValueError, match="value must be"):
            plot_activation_deviation({"a": self.one(1)}, value="l2", use_pyplot=False)
