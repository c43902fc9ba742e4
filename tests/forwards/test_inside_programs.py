"""What is in a compiled program: fused attention, averages at borders; and what torch's own compiler makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision.models import VisionTransformer

from captum_ad import ADForward
from tests.forwards.compiling import Network, pair


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    yield
    torch.compiler.reset()


class ChannelsLast(nn.Module):
    """Large windows and norms of channels, as in a ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.windows = nn.Conv2d(3, 16, 8, 8), nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm, self.mix, self.head = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.mix(self.norm(self.windows(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.head(self.norm(x.mean((2, 3))))


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("kind", [Network, ChannelsLast, partial(VisionTransformer, 64, 4, 1, 2, 16, 32)])
def test_inductor(kind: Callable[[], nn.Module]) -> None:
    model = kind().eval()
    if isinstance(model, Network):
        model.tokens = nn.Identity()  # torch's fused encoder layer, unmasked, fails in inductor
    ad, eager = ADForward(model), ADForward(model)
    ad.compile()
    plain = torch.compile(ad.model)
    x, mask = torch.randn(2, 3, 64, 64), torch.rand(2, 64, 64) < 0.1  # enough positions for vector code
    assert torch.equal(ad(x), plain(x))
    assert torch.equal(ad(x, mask=torch.ones_like(mask)), plain(x))
    for one in (mask, mask.flip(-1)):
        out = ad(x, mask=one)
        torch.testing.assert_close(out, eager(x, mask=one), rtol=1e-4, atol=1e-5)
        assert torch.equal(ad(torch.where(one[:, None], x, torch.inf), mask=one), out)


def small_vit(library: str) -> nn.Module:
    torch.manual_seed(0)
    if library == "torchvision":
        return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, attn_implementation="sdpa")
    model: nn.Module = transformers.ViTForImageClassification(config).eval()
    return model


@torch.no_grad()
@pytest.mark.parametrize("library", ["torchvision", "transformers"])
def test_attention_stays_fused(library: str, programs: list[fx.GraphModule]) -> None:
    compiled, eager, _ = pair(small_vit(library))
    x, mask = torch.randn(2, 3, 32, 32), torch.rand(2, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2) < 0.6
    torch.testing.assert_close(compiled(x, mask=mask), eager(x, mask=mask), rtol=1e-4, atol=1e-5)
    called = [str(node.target) for node in programs[0].graph.nodes]
    assert sum("scaled_dot_product" in name for name in called) == 2
    assert not any("softmax" in name for name in called)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_averages_at_borders(gradients: bool, channels_last: bool) -> None:
    """On a CPU, programs without gradients fill with the operator that runs eagerly, to the same bits."""
    model = nn.Sequential(
        nn.ZeroPad2d(2), nn.Conv2d(3, 4, 5, 2), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 3), nn.Conv2d(4, 2, 2)
    ).eval()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    compiled, eager, _ = pair(model.to(memory_format=layout))
    x, mask = torch.randn(2, 3, 24, 24).to(memory_format=layout), torch.rand(2, 24, 24) < 0.6
    with torch.set_grad_enabled(gradients):
        out, expected = compiled(x, mask=mask), eager(x, mask=mask)
    assert not torch.equal(expected, ADForward(model, "no-growth")(x, mask=mask))
    if gradients:
        torch.testing.assert_close(out, expected)
        grads = [torch.autograd.grad(one.sum(), model[1].weight)[0] for one in (out, expected)]
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(out, expected)
