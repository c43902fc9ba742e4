"""Networks of tokens whose every token is an output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.engine.attention import CHANNELS


class Everything(nn.Module):
    """Tokens of an image, a class token before them, and blocks that take them."""

    def __init__(self, *blocks: nn.Module, class_token: bool = True) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, CHANNELS))
        self.blocks = nn.Sequential(*blocks)
        self.class_token = class_token

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        if self.class_token:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.blocks(x)
