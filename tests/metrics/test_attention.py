"""Attention maps of all makes against what they return themselves, and their correlation against loops."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from captum.attr import Occlusion
from torch import Tensor, nn
from torch.nn import functional

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.metrics import attention_correlation, attention_maps
from tests.metrics.models import untouched


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """Attention over tokens in one of three spellings."""

    def __init__(self, spelling: str, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.spelling, self.heads, self.qkv = spelling, heads, nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.spelling == "fused":
            out = functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            weights = scores.softmax(-1) if self.spelling == "method" else functional.softmax(scores, dim=-1)
            out = weights @ v
        return x + out.transpose(1, 2).flatten(2)


class Patches(nn.Module):
    """A vision transformer of two blocks: 3 × 4 patches of 2 × 2 pixels, and a class token."""

    def __init__(self, spelling: str = "fused") -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(2, 8, 2, 2), nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks, self.head = nn.Sequential(Block(spelling), Block(spelling)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        found: Tensor = self.head(self.blocks(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1))[:, 0])
        return found


def patches(spelling: str = "fused") -> Patches:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Patches(spelling).eval()


X = noise(1, (1, 2, 6, 8))


def correlated(one: list[float], other: list[float]) -> float:
    """Pearson's, term by term."""
    n = len(one)
    a, b = sum(one) / n, sum(other) / n
    above = sum((one[i] - a) * (other[i] - b) for i in range(n))
    return above / math.sqrt(sum((v - a) ** 2 for v in one) * sum((v - b) ** 2 for v in other))


class TestMaps:
    @pytest.mark.parametrize("spelling", ["function", "method"])
    def test_are_the_same_in_every_spelling(self, spelling):
        fused, other = attention_maps(patches(), X), attention_maps(patches(spelling), X)
        assert list(fused) == list(other) == ["blocks.0", "blocks.1"]
        for name, weights in fused.items():
            assert weights.shape == (1, 2, 13, 13)
            assert torch.allclose(weights.sum(-1), torch.ones(1, 2, 13))
            assert torch.allclose(weights, other[name], atol=1e-6)

    @pytest.mark.parametrize(
        "given",
        [
            {"attn_mask": torch.tensor([True, False, True, True, False]).expand(5, 5)},
            {"attn_mask": torch.arange(25.0).reshape(5, 5) / 9},
            {"is_causal": True},
            {"scale": 0.2},
        ],
        ids=["allowed", "bias", "causal", "scale"],
    )
    def test_times_the_values_are_what_the_fused_function_returns(self, given):
        class One(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return functional.scaled_dot_product_attention(x, x.flip(-1), torch.eye(5).expand(1, 2, 5, 5), **given)

        x = noise(3, (1, 2, 5, 4))
        found = attention_maps(One().eval(), x)
        assert torch.allclose(found[""], One()(x), atol=1e-6)

    @pytest.mark.parametrize("average", [True, False])
    def test_multihead_attention_returns_what_it_was_asked_for(self, average):
        class Asking(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                self.nothing = self.attention(x, x, x, need_weights=False)[1]
                out: Tensor = self.attention(x, x, x, average_attn_weights=average)[1]
                return out

        model, x = Asking().eval(), noise(0, (1, 5, 8))
        seen: list[Tensor] = []
        model.register_forward_hook(lambda _, __, out: seen.append(out))
        weights = attention_maps(model, x)["attention"]
        assert model.nothing is None
        assert torch.allclose(seen[0], weights.mean(1) if average else weights)

    def test_layers_that_torch_would_run_on_a_fast_path(self):
        layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
        model = nn.TransformerEncoder(layer, 2).eval()
        assert list(attention_maps(model, noise(0, (1, 5, 8)))) == ["layers.0.self_attn", "layers.1.self_attn"]

    def test_a_forward_is_its_model_and_nothing_changes(self):
        model = patches()
        with untouched(model, X):
            plain = attention_maps(model, X, layers=["blocks.1"])
            for forward in (ADForward(model), BaselineForward(model, "avg")):
                assert torch.equal(attention_maps(forward, X)["blocks.1"], plain["blocks.1"])
            with pytest.raises(UnknownNameError, match=r"unknown attention layer 'block\.1': did you"):
                attention_maps(model, X, layers=["block.1"])
            with pytest.raises(RuntimeError):
                attention_maps(model, X[:, :1])

    def test_modules_whose_errors_the_network_catches(self):
        class Catching(Patches):
            def forward(self, x: Tensor) -> Tensor:
                with contextlib.suppress(RuntimeError):
                    self.embed(x[:, :1])
                return super().forward(functional.scaled_dot_product_attention(x, x, x))

        assert list(attention_maps(Catching().eval(), X)) == ["", "blocks.0", "blocks.1"]

    def test_refusals(self):
        with pytest.raises(ValueError, match="no attention found in Sequential"):
            attention_maps(nn.Sequential(nn.Conv2d(2, 2, 1), nn.Softmax(1)).eval(), X)
        with pytest.raises(ValueError, match="train mode"):
            attention_maps(Patches().train(), X)
        with pytest.raises(ValueError, match=r"write \['blocks.0'\]"):
            attention_maps(patches(), X, layers="blocks.0")  # type: ignore[arg-type]


class TestReference:
    @pytest.mark.parametrize("query", [0, 5, None])
    def test_loops(self, query):
        attentions, attribution = attention_maps(patches(), X), noise(7, (1, 2, 6, 8))
        found = attention_correlation(attentions, attribution, query=query)
        values = [
            sum(float(attribution[0, c, 2 * i + a, 2 * j + b]) for c in (0, 1) for a in (0, 1) for b in (0, 1)) / 4
            for i in range(3)
            for j in range(4)
        ]
        every = [0.0] * 12
        for i, name in enumerate(attentions):
            of_layer = [0.0] * 12
            for head in range(2):
                queries = range(13) if query is None else [query]
                of_head = [
                    sum(float(attentions[name][0, head, q, k]) for q in queries) / len(queries) for k in range(1, 13)
                ]
                assert float(found.heads[i, head]) == pytest.approx(correlated(of_head, values))
                of_layer = [a + b / 2 for a, b in zip(of_layer, of_head)]
            assert float(found.by_layer[i]) == pytest.approx(correlated(of_layer, values))
            every = [a + b / 2 for a, b in zip(every, of_layer)]
        assert found.averaged == pytest.approx(correlated(every, values))
        assert found.layers == ("blocks.0", "blocks.1")

    def test_spearman_is_scipy_s(self):
        stats = pytest.importorskip("scipy.stats")
        weights, attribution = noise(0, (1, 2, 1, 9)).round(decimals=1), noise(1, (1, 1, 9)).round(decimals=1)
        found = attention_correlation({"a": weights}, attribution, query=0, correlation="spearman")
        for head in range(2):
            expected = stats.spearmanr(weights[0, head, 0].numpy(), attribution[0, 0].numpy()).statistic
            assert float(found.heads[0, head]) == pytest.approx(expected)


class Pointing(nn.Module):
    """A class token that attends to patches by their first channel, and reads ones of patches and nothing of itself."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = functional.pad(x.flatten(2).transpose(1, 2), (0, 0, 1, 0))  # a class token of zeros
        keys, values = tokens[..., :1], tokens[..., 1:]
        query = torch.ones(len(x), 1, 1, 1)
        out = functional.scaled_dot_product_attention(query, keys[:, None], values[:, None], scale=1.0)
        found: Tensor = out[:, 0, 0]
        return found


class TestKnownNetwork:
    def test_what_is_attended_to_is_what_hiding_takes_away(self):
        """f = S / (S + 1) with S the patches' summed e^k; without a patch S is smaller by its own."""
        strengths = torch.tensor([[0.1, -1.0, 2.0], [0.7, 1.1, -0.4]])
        x = torch.stack([strengths, torch.ones(2, 3)])[None]
        model = Pointing().eval()
        attribution = Occlusion(ADForward(model)).attribute(x, target=0, sliding_window_shapes=(2, 1, 1))
        total = float(strengths.exp().sum())
        expected = total / (1 + total) - (total - strengths.exp()) / (1 + total - strengths.exp())
        assert torch.allclose(attribution[0, 0], expected, atol=1e-6)
        attentions = attention_maps(model, x)
        assert torch.allclose(attentions[""][0, 0, 0, 1:], strengths.exp().flatten() / (1 + total))
        found = attention_correlation(attentions, attribution, query=0, correlation="spearman")
        assert found.averaged == pytest.approx(1)
        turned = attention_correlation(attentions, -attribution, query=0, correlation="spearman")
        assert turned.averaged == pytest.approx(-1)

    def test_a_constant_has_no_correlation(self):
        uniform = {"a": torch.full((1, 2, 3, 5), 0.2)}
        found = attention_correlation(uniform, noise(0, (1, 1, 2, 2)))
        assert found.heads.isnan().all()
        assert found.by_layer.isnan().all()
        assert math.isnan(found.averaged)
        weights = {"a": noise(0, (1, 2, 3, 5))}
        assert math.isnan(attention_correlation(weights, torch.full((1, 3, 4, 4), 0.1)).averaged)

    @pytest.mark.parametrize("correlation", ["pearson", "spearman"])
    def test_a_constant_whose_means_round_has_none(self, correlation):
        """Of 5 × 5 pixels the keys share some: their means differ in the last bit."""
        even = torch.full((1, 3, 5, 5), 0.1, dtype=torch.float64)
        given = {"grid": (3, 3), "correlation": correlation}
        assert attention_correlation({"a": noise(0, (1, 2, 3, 9))}, even, **given).heads.isnan().all()

    def test_grids_and_special_tokens(self):
        fits = {
            (197, (224, 224)): (14, 14),
            (198, (224, 224)): (14, 14),
            (201, (224, 224)): (14, 14),
            (13, (6, 8)): (3, 4),
            (20, (40,)): (20,),
        }
        for (keys, spatial), grid in fits.items():
            values = noise(keys, (1, 2, *spatial))
            weights = {"a": noise(0, (1, 1, 1, keys))}
            by_itself = attention_correlation(weights, values)
            said = attention_correlation(weights, values, grid=grid, special=keys - math.prod(grid))
            assert by_itself.averaged == said.averaged
        spectrogram = noise(0, (1, 12, 8))  # an input without channels
        assert attention_correlation({"a": noise(1, (1, 1, 1, 7))}, spectrogram, grid=(3, 2)).heads.isfinite().all()


WEIGHTS = {"a": torch.rand(1, 2, 4, 5)}


class TestBadInput:
    @pytest.mark.parametrize(
        ("attentions", "attribution", "given", "match"),
        [
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"correlation": "kendall"}, "got 'kendall'"),
            ({}, torch.rand(1, 1, 2, 2), {}, "at least one"),
            (
                {"a": torch.rand(4, 2, 4, 5)},
                torch.rand(1, 1, 2, 2),
                {},
                "one sample at a time, and no windowed attention",
            ),
            ({"a": torch.full((1, 2, 4, 5), math.nan)}, torch.rand(1, 1, 2, 2), {}, "contains NaN"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"query": 4}, "query 4 is out of range"),
            ({**WEIGHTS, "b": torch.rand(1, 2, 4, 6)}, torch.rand(1, 1, 2, 2), {}, "attend to the same positions"),
            ({**WEIGHTS, "b": torch.rand(1, 3, 4, 5)}, torch.rand(1, 1, 2, 2), {}, "'b' has 3 heads"),
            (WEIGHTS, torch.rand(2, 2), {}, r"expected \(1, C, \*spatial\)"),
            (WEIGHTS, torch.rand(2, 1, 2, 2), {}, r"expected \(1, C, \*spatial\)"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"special": 5}, "special must be a number of keys from 0 to 4"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"grid": (3, 2)}, "do not add up to the 5 keys"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"grid": (2, 2), "special": 2}, "do not add up to the 5 keys"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"grid": (-1, -5)}, "grid must be positive integers"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"grid": (2.0, 2.0)}, "grid must be positive integers"),
            (WEIGHTS, torch.rand(1, 1, 2, 2), {"grid": 4}, "grid must be positive integers"),
            (WEIGHTS, torch.rand(1, 3, 4), {}, "of 4 positions is too coarse for a grid of 5 keys"),
            (WEIGHTS, torch.rand(1, 1, 3, 7), {}, r"fit no grid with the aspect ratio of \(3, 7\): give grid="),
            (WEIGHTS, torch.full((1, 1, 2, 2), math.inf), {}, "contains NaN or Inf"),
        ],
    )
    def test_values(self, attentions, attribution, given, match):
        with pytest.raises(ValueError, match=match):
            attention_correlation(attentions, attribution, **given)

    def test_types(self):
        with pytest.raises(TypeError, match="must be a Tensor, got list"):
            attention_correlation(WEIGHTS, [1.0, 2.0])  # type: ignore[arg-type]
