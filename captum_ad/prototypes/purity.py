"""How far a channel of a map responds alone, and channels turned so that they do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TINY = 1e-12
"""Lengths are no shorter than this where they divide."""


def purities(maps: Tensor, count: int, norms: Tensor | None = None) -> Tensor:
    """Mean over the best images of each channel of v_c / ‖v‖ at its highest position.

    Parameters
    ----------
    maps : Tensor
        Shape (images, channels, h, w).
    count : int
        How many images.
    norms : Tensor, optional
        ‖v‖, shape (images, h, w), if the maps are not of all channels.

    Returns
    -------
    Tensor
        Shape (channels,).

    Examples
    --------
    >>> purities(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1), 1)
    tensor([0.6000, 0.8000])
    """
    norms = maps.norm(dim=1) if norms is None else norms
    highest, places = maps.flatten(2).max(2)
    responses, best = highest.topk(min(count, len(maps)), 0)
    lengths = norms.flatten(1).gather(1, places).gather(0, best)
    return (responses / lengths.clamp_min(TINY)).mean(0)


def purer(maps: Tensor, norms: Tensor, count: int, steps: int, learning_rate: float) -> Tensor:
    """The orthogonal U = exp(A − Aᵀ) that turns channels to be purer, by Adam on A from zero.

    Parameters
    ----------
    maps : Tensor
        Shape (images, channels, h, w).
    norms : Tensor
        Of all channels there are, shape (images, h, w).
    count : int
        Images of each channel that count.
    steps : int
        Of Adam.
    learning_rate : float
        Of Adam.

    Returns
    -------
    Tensor
        Shape (channels, channels), of the maps' dtype, or float32 if that is finer.

    Examples
    --------
    >>> maps = torch.rand(4, 3, 2, 2)
    >>> turn = purer(maps, maps.norm(dim=1), count=2, steps=3, learning_rate=0.02)
    >>> torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-5)
    True
    """
    with torch.inference_mode(False), torch.enable_grad():
        wide = torch.promote_types(maps.dtype, torch.float32)
        maps, norms = (one.detach().clone().to(wide) for one in (maps, norms))
        angles = maps.new_zeros(maps.shape[1], maps.shape[1]).requires_grad_()
        optimizer = torch.optim.Adam([angles], lr=learning_rate)
        for _ in range(steps):
            optimizer.zero_grad()
            turned = torch.einsum("kc,nchw->nkhw", torch.matrix_exp(angles - angles.T), maps)
            (-purities(turned, count, norms).mean()).backward()
            optimizer.step()
        return torch.matrix_exp(angles - angles.T).detach()


class Turn(nn.Module):
    """Multiplies the channels of a map by a matrix.

    Parameters
    ----------
    rotation : Tensor
        Shape (channels, channels).
    """

    def __init__(self, rotation: Tensor) -> None:
        super().__init__()
        self.register_buffer("rotation", rotation)

    def forward(self, x: Tensor) -> Tensor:
        """The map, turned."""
        return nn.functional.conv2d(x, self.rotation[..., None, None])  # type: ignore[index]
