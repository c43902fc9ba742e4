"""LSTM, GRU and RNN along rows or columns of a map, against the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError
from tests.engine.graphs import CHANNELS, conv, last_to_first
from tests.engine.operations import Layer, Move
from tests.engine.test_oracle import RULES, TAUS, _compare, _masks
from tests.oracle import Graph, Index, Knobs, Map, renewed

HEIGHT, WIDTH, HIDDEN = 3, 4, 2


class Recurrent(Layer):
    """Along the rows of a channels-last map (N, H, W, C); `final`: the last state of each row in place of its steps."""

    def __init__(self, layer: nn.Module, final: bool = False) -> None:
        super().__init__(layer)
        self.final = final

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        out, state = self.layer(rows if self.layer.batch_first else rows.transpose(0, 1))
        if self.final:
            out = state[0] if isinstance(state, tuple) else state
            out = out.transpose(0, 1)
        elif not self.layer.batch_first:
            out = out.transpose(0, 1)
        return out.unflatten(0, x.shape[:2])

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        width, channels = x.values.shape[2:]

        def counts(index: Index) -> tuple[int, int, bool]:
            step = width - 1 if self.final or self.layer.bidirectional else index[2]
            row = [[(*index[:2], i, c) for c in range(channels)] for i in range(step + 1)]
            kept = sum(any(element in x.kept for element in position) for position in row)
            features = sum(any(element in x.feature for element in position) for position in row)
            if self.final:  # has no position of its own
                return kept, features, kept > 0
            alive = features > 0 and knobs.exceeded_by(kept, features)
            own = [(*index[:3], c) for c in range(channels)]
            itself = any(element in x.kept for element in own) or not any(element in x.feature for element in own)
            return kept, features, alive and (itself or knobs.rule.growth == "window")

        return renewed(self(x.checkpoint()), counts)


def recurrent(
    kind: Callable[..., nn.Module], inputs: int = CHANNELS, final: bool = False, **kwargs: object
) -> Recurrent:
    return Recurrent(kind(inputs, HIDDEN, **kwargs), final)


LAYERS: dict[str, Callable[[], Recurrent]] = {
    "LSTM": lambda: recurrent(nn.LSTM, batch_first=True),
    "LSTM, both ways": lambda: recurrent(nn.LSTM, batch_first=True, bidirectional=True),
    "GRU, two layers": lambda: recurrent(nn.GRU, num_layers=2),
    "RNN": lambda: recurrent(nn.RNN, nonlinearity="relu", bias=False),
    "RNN, tanh": lambda: recurrent(nn.RNN, batch_first=True),
    "LSTM, last state": lambda: recurrent(nn.LSTM, final=True, batch_first=True, bidirectional=True, num_layers=2),
    "GRU, last state": lambda: recurrent(nn.GRU, final=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_are_the_oracle(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    out = layer.double()(torch.zeros(1, HEIGHT, WIDTH, CHANNELS, dtype=torch.double)).shape[-1]
    padded = Move(lambda x: nn.functional.pad(x, (1, 0)).permute(0, 2, 3, 1))
    graph = Graph(conv(1), padded, layer, last_to_first(), conv(1, out))
    masks = _masks(HEIGHT, WIDTH - 1)
    pairs = itertools.cycle(itertools.product(masks, TAUS))
    for rule in RULES:
        for kind, tau in itertools.islice(pairs, 2):
            _compare(graph, (HEIGHT, WIDTH - 1), masks[kind], Knobs(rule, tau))


class Sequence(nn.Module):
    def __init__(self, run: Callable[[nn.LSTM, Tensor], Tensor]) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 2, batch_first=True)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.lstm, x.transpose(1, 2))


def packed(lstm: nn.LSTM, x: Tensor) -> Tensor:
    rows = nn.utils.rnn.PackedSequence(x.flatten(0, 1), torch.full((x.shape[1],), x.shape[0]))
    return lstm(rows)[1][0]


def started_from_features(lstm: nn.LSTM, x: Tensor) -> Tensor:
    start = x.mean(1)[None]
    return lstm(x, (start, start))[0]


@pytest.mark.parametrize(
    ("run", "why"), [(packed, "packed sequences"), (started_from_features, "computed from features")]
)
def test_what_recurrent_layers_refuse(run: Callable[[nn.LSTM, Tensor], Tensor], why: str) -> None:
    model, x = Sequence(run).eval(), torch.randn(2, 2, 5)
    mask = torch.tensor([True, True, False, False, True])
    with pytest.raises(UnsupportedOperationError, match=why):
        ADForward(model)(x, mask=mask)
    assert torch.equal(ADForward(model)(x), model(x))
