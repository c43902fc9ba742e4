"""Attention in people's own code: what is refused, biases made of queries, tokens one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError
from tests.engine.attention import CHANNELS, HEIGHT, WIDTH
from tests.engine.tokens import Everything
from tests.networks import Apply

REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax without dim": lambda x: F.softmax(x),
    "diagonal": lambda x: torch.einsum("nij,njj->ni", x[:, :4], x[:, :4]),
    "no result": lambda x: torch.einsum("nij,nij", x, x),
    "a vector": lambda x: x @ x[0, 0],
    "samples against samples": lambda x: x[:, 2] @ x[:, 2].transpose(0, 1),
    "summed over samples": lambda x: torch.einsum("nij,nij->ij", x, x),
    "unbatched": lambda x: nn.MultiheadAttention(CHANNELS, 2).double()(x[0], x[0], x[0])[0],
    "learned key": lambda x: nn.MultiheadAttention(CHANNELS, 2, add_bias_kv=True).double()(x, x, x)[0],
}


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize("name", REFUSED)
@torch.no_grad()
def test_what_has_no_rule_is_refused(name: str) -> None:
    model = Everything(Apply(REFUSED[name])).double().eval()
    x = torch.randn(2, CHANNELS, HEIGHT, WIDTH).double()
    assert torch.isfinite(model(x)).all()
    with pytest.raises(UnsupportedOperationError):
        ADForward(model)(x, mask=torch.eye(HEIGHT, WIDTH, dtype=torch.bool))


@torch.no_grad()
def test_a_bias_made_of_queries() -> None:
    """Relative positions, as SAM has them: a dead key stays out however its bias is."""
    torch.manual_seed(0)
    table = torch.randn(CHANNELS, 12).double()

    def attend(x: Tensor, table: nn.Linear) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=table(x))

    bias, part = nn.Linear(CHANNELS, 12, bias=False), torch.arange(12) % 3 == 0
    bias.weight = nn.Parameter(table.T.contiguous())
    x = torch.randn(2, CHANNELS, 12).double()
    out = ADForward(Everything(Apply(attend, bias), class_token=False).eval())(x, mask=part)
    tokens = x[..., part].transpose(1, 2)
    expected = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=bias(tokens)[..., part])
    torch.testing.assert_close(out[:, part], expected)
    assert bool((out[:, ~part] == 0).all())


STEPS: dict[str, Callable[[Tensor, nn.Module], Tensor]] = {
    "picked": lambda t, layer: torch.stack([layer(t[:, i]) for i in range(t.shape[1])], 1),
    "unbound": lambda t, layer: torch.stack([layer(step) for step in t.unbind(1)], 1),
    "slices": lambda t, layer: torch.cat([layer(t[:, i : i + 1]) for i in range(t.shape[1])], 1),
    "activated": lambda t, layer: torch.stack([layer(t[:, i].relu()) for i in range(t.shape[1])], 1),
}


@pytest.mark.parametrize("name", STEPS)
@torch.no_grad()
def test_positions_that_are_taken_one_by_one_stay_dead(name: str) -> None:
    torch.manual_seed(0)
    model = Everything(Apply(STEPS[name], nn.Linear(CHANNELS, 3)), class_token=False).double().eval()
    x, mask = torch.randn(2, CHANNELS, 12).double(), torch.arange(12) % 3 == 0
    out = ADForward(model)(x, mask=mask)
    torch.testing.assert_close(out[:, mask], model(x)[:, mask])
    assert bool((out[:, ~mask] == 0).all())
