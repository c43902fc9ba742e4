"""The purity of a map's channels (how far they respond alone), and rotations that increase it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TINY = 1e-12
"""Smallest norm to divide by."""


def purities(maps: Tensor, count: int, norms: Tensor | None = None) -> Tensor:
    """The purity of each channel: v_c / ‖v‖ at its highest position, averaged over its best images.

    Parameters
    ----------
    maps : Tensor
        Shape (images, channels, h, w).
    count : int
        Number of best images.
    norms : Tensor, optional
        ‖v‖, shape (images, h, w), if the maps do not have all channels.

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
    """The orthogonal U = exp(A − Aᵀ) that rotates channels to be purer, found by Adam on A, starting from zero.

    Parameters
    ----------
    maps : Tensor
        Shape (images, channels, h, w).
    norms : Tensor
        Norms over all channels, shape (images, h, w).
    count : int
        Number of best images per channel.
    steps : int
        Steps of Adam.
    learning_rate : float
        Learning rate of Adam.

    Returns
    -------
    Tensor
        Shape (channels, channels), of the maps' dtype, or float32 if that is wider.

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
    """Multiply the channels of a map by a matrix.

    Parameters
    ----------
    rotation : Tensor
        Shape (channels, channels).
    """

    def __init__(self, rotation: Tensor) -> None:
        super().__init__()
        self.register_buffer("rotation", rotation)

    def forward(self, x: Tensor) -> Tensor:
        """The rotated map."""
        return nn.functional.conv2d(x, self.rotation[..., None, None])  # type: ignore[index]
