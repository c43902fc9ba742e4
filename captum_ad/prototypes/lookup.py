"""Prototype lookup: the image patches to which a network's channels respond most (EPIC)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AvgPoolNd
from tqdm import tqdm

from captum_ad._common.layers import modules_at
from captum_ad._forwards.answers import Answering
from captum_ad._scoring import batch_of, in_eval_mode, one_input
from captum_ad.attr.runner import positive
from captum_ad.prototypes.patches import Prototype, patch_worth
from captum_ad.prototypes.purity import TINY, Turn, purer, purities
from captum_ad.targets.base import tensor_of

__all__ = ["Prototype", "Prototypes", "patch_worth"]


class Prototypes:
    """Prototypes for the channels of a network's last map, either the original channels or rotated, purer ones.

    From *EPIC: Explanation of Pretrained Image Classification Networks via Prototypes* (Borycki et al. 2025, arXiv
    2505.12897), as far as it fits a package that hides features. A channel is explained by the patches of training
    images to which it responds most. Because several channels respond together, the map's channels z are rotated,
    ``U z`` with ``U = exp(A − Aᵀ)`` orthogonal, and the linear layer after the pooling undoes this, ``W Uᵀ``, so that
    the network's output stays the same. A is learned to make prototypes pure: with v the values of all channels at a
    channel's highest position, the mean of ``v_c / ‖v‖`` is maximized. Our reading: which channels are rotated; Adam on
    A, starting from zero, with prototypes chosen again at each step; and a patch is a square of map cells, in pixels.

    Parameters
    ----------
    model : nn.Module
        The model, in eval mode. An ADForward or BaselineForward is unwrapped.
    images : mapping of str to Tensor, str or Path
        Inputs by name, shape (1, C, H, W), all of the same size; or a folder of images, with `transform`.
    layer : str
        Path of the module that returns the last map, (N, C, h, w), or of the average pooling after it, as in
        ``model.named_modules()``. If the module runs several times, the last run counts.
    transform : callable, optional
        Converts an RGB image to an input, shape (C, H, W).
    batch_size : int, optional
        Inputs per forward.
    show_progress : bool
        Show a progress bar.

    Attributes
    ----------
    maps : Tensor
        The rotated maps, shape (images, C, h, w).
    rotation : Tensor
        U, shape (C, C); the identity for the original channels.

    Raises
    ------
    UnknownNameError
        If the layer is unknown; the message lists similar names.
    ValueError, TypeError
        If there are no images, they differ in size, or the layer does not return a map, or returns NaN.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    >>> images = {str(i): torch.rand(1, 1, 4, 4) for i in range(5)}
    >>> found = Prototypes(model.eval(), images, "1")
    >>> len(found.of(channel=0, count=2)), found.purity(count=2).shape
    (2, torch.Size([3]))
    """

    def __init__(
        self,
        model: nn.Module,
        images: Mapping[str, Tensor] | str | Path,
        layer: str,
        *,
        transform: Callable[[Any], Tensor] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> None:
        in_eval_mode(model)
        self.model = model.model if isinstance(model, Answering) else model
        modules_at(self.model, [layer])  # raises an error if it does not exist
        self.layer = layer
        given = images if isinstance(images, Mapping) else _of_folder(images, transform)
        self.names = tuple(given)
        if not given:
            raise ValueError("got no images, expected at least one")
        for name, x in given.items():
            if not isinstance(x, Tensor) or x.dim() != 4 or len(x) != 1:
                shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(f"image {name!r} has shape {shape}, expected (1, C, H, W)")
        sizes = {tuple(x.shape[2:]) for x in given.values()}
        if len(sizes) > 1:
            raise ValueError(f"the images have {len(sizes)} sizes, {sorted(sizes)}: resize them to one size")
        self.sides = next(iter(sizes))
        self._first = next(iter(given.values()))
        xs, size = list(given.values()), batch_of(batch_size, self._first.device)
        starts: Iterable[int] = range(0, len(xs), size)
        if show_progress:
            starts = tqdm(starts, desc="prototypes", unit="batch")
        self._plain = torch.cat([self._maps(torch.cat(xs[i : i + size])) for i in starts])
        for name, one in zip(self.names, self._plain):
            if not bool(one.isfinite().all()):
                raise ValueError(
                    f"the map of {layer!r} has NaN or Inf for image {name!r}: leave the image out, or fix it"
                )
        self.rotation = torch.eye(self._plain.shape[1], dtype=self._plain.dtype, device=self._plain.device)
        self.maps = self._plain

    def of(self, channel: int, count: int = 5, *, cells: int = 3) -> list[Prototype]:
        """The prototypes of a channel: one from each of the images with the highest responses, highest first.

        Parameters
        ----------
        channel : int
            Index of the channel in the map.
        count : int
            Number of prototypes, at most one per image.
        cells : int
            Side of the patches in cells of the map, an odd number.
        """
        self._checked(channel, count)
        best = self.maps[:, channel].flatten(1).amax(1).argsort(descending=True, stable=True)[:count]
        return [self._prototype(self.names[i], self.maps[i], channel, cells) for i in best.tolist()]

    def within(self, x: Tensor, channel: int, *, cells: int = 3) -> Prototype:
        """The patch where a channel responds most in another image, shape (1, C, H, W)."""
        self._checked(channel, 1)
        if not isinstance(x, Tensor) or tuple(x.shape[2:]) != self.sides or len(x) != 1:
            raise ValueError(f"the image must have shape (1, C, {self.sides[0]}, {self.sides[1]})")
        return self._prototype("", self.turned(x)[0], channel, cells)

    def turned(self, x: Tensor) -> Tensor:
        """The rotated map of inputs, shape (N, C, h, w)."""
        return torch.einsum("kc,nchw->nkhw", self.rotation, self._maps(x))

    def purity(self, count: int = 5) -> Tensor:
        """Mean purity of each channel's prototypes, shape (C,): 1 if no other channel responds at its maximum."""
        self._checked(0, count)
        return purities(self.maps, count).detach()

    def strongest(self, x: Tensor, target: int, count: int = 3) -> list[int]:
        """The channels that contribute most to a class's score in an image, by the mean of the map times W Uᵀ.

        Raises
        ------
        ValueError
            If an argument is invalid, or the network's output is not that of the linear layer after the map.
        """
        one_input(x)
        positive(count, "count")
        head = self._head(self.model)
        if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < head.out_features:
            raise ValueError(f"target must be a class index, 0 to {head.out_features - 1}, got {target!r}")
        with torch.no_grad():
            means = self._maps(x).mean((2, 3))
            scores, answer = head(means), tensor_of(self.model(x))
        if scores.shape != answer.shape or not torch.equal(scores.argmax(1), answer.argmax(1)):
            raise ValueError(
                f"the network's output is not that of the linear layer that takes the {len(means[0])} channels of "
                f"{self.layer!r}, so channels have no share of a class's score: use the last map before the classifier"
            )
        given = (self.rotation @ means[0]) * (self.rotation @ head.weight[target].detach())
        return given.topk(min(count, len(given))).indices.tolist()

    def disentangled(
        self, channels: Sequence[int] | None = None, *, count: int = 5, steps: int = 50, learning_rate: float = 0.02
    ) -> Prototypes:
        """Prototypes of the same images for channels that are rotated to be purer.

        Parameters
        ----------
        channels : sequence of int, optional
            Channels to rotate among themselves. Default: all, which is slow for more than a few hundred.
        count : int
            Number of prototypes per channel whose purity is optimized.
        steps : int
            Steps of Adam.
        learning_rate : float
            Learning rate of Adam, roughly in radians, since entries of A are angles.
        """
        chosen = list(range(len(self.rotation))) if channels is None else list(channels)
        for channel in chosen:
            self._checked(channel, count)
        if len(set(chosen)) < max(2, len(chosen)):
            raise ValueError(f"channels must be at least two different channels, got {channels!r}")
        positive(steps, "steps")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a positive number, got {learning_rate!r}")
        turn = purer(self.maps[:, chosen], self.maps.norm(dim=1), count, steps, learning_rate)
        whole = torch.eye(len(self.rotation), dtype=self.maps.dtype, device=self.maps.device)
        whole[torch.tensor(chosen)[:, None], torch.tensor(chosen)] = turn.to(whole.dtype)
        other = copy.copy(self)
        other.rotation = whole @ self.rotation
        other.maps = torch.einsum("kc,nchw->nkhw", other.rotation, self._plain)
        return other

    def network(self) -> nn.Module:
        """A copy of the model in which the map is rotated by U and the linear layer has W Uᵀ: the same function.

        Raises
        ------
        ValueError
            If it is not the same function, because there is more than averaging between map and linear layer.
        """
        model = copy.deepcopy(self.model)
        head, turn = self._head(model), Turn(self.rotation)
        head.weight = nn.Parameter(head.weight.detach() @ self.rotation.T)
        parent, _, name = self.layer.rpartition(".")
        module = model.get_submodule(self.layer)
        order = (turn, module) if _averages(module) else (module, turn)
        setattr(model.get_submodule(parent), name, nn.Sequential(*order))
        noise = torch.randn(self._first.shape, generator=torch.Generator().manual_seed(0)).to(self._first)
        xs = torch.cat([self._first, noise])  # a single image might not show the difference
        with torch.no_grad():
            before, after = tensor_of(self.model(xs)), tensor_of(model.eval()(xs))
        share = max(1e-3, 8 * torch.finfo(before.dtype).eps)
        if not torch.allclose(before, after, rtol=0, atol=share * float(before.abs().max())):
            raise ValueError(
                f"rotating the map of {self.layer!r} changes the network's output, since there is more than averaging "
                "between it and the linear layer: use the last map, after its activation, or the pooling"
            )
        return model

    def _head(self, model: nn.Module) -> nn.Linear:
        fitting = [m for m in model.modules() if isinstance(m, nn.Linear) and m.in_features == len(self.rotation)]
        if not fitting:
            raise ValueError(
                f"no linear layer takes the {len(self.rotation)} averaged channels of {self.layer!r}: use the last map "
                "before the classifier"
            )
        return fitting[-1]

    def _maps(self, x: Tensor) -> Tensor:
        seen: list[Any] = []
        module = self.model.get_submodule(self.layer)

        def note(_: nn.Module, inputs: Any, output: Any) -> None:
            seen.append(inputs[0] if _averages(module) else output)

        handle = module.register_forward_hook(note)
        try:
            with torch.no_grad():
                self.model(x)
        finally:
            handle.remove()
        if not seen:
            raise ValueError(f"layer {self.layer!r} did not run: choose a module that the model's forward calls")
        found = seen[-1]
        if not isinstance(found, Tensor) or found.dim() != 4:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"layer {self.layer!r} returned {shape}, expected a map (N, C, h, w)")
        return found.detach().clone()

    def _prototype(self, image: str, of: Tensor, channel: int, cells: int) -> Prototype:
        if isinstance(cells, bool) or not isinstance(cells, int) or cells < 1 or cells % 2 == 0:
            raise ValueError(f"cells must be an odd number of map cells, got {cells!r}")
        (height, width), (h, w) = self.sides, of.shape[1:]
        row, column = divmod(int(of[channel].argmax()), w)
        reach = cells // 2
        top, bottom = max(0, row - reach) * height // h, min(h, row + reach + 1) * height // h
        left, right = max(0, column - reach) * width // w, min(w, column + reach + 1) * width // w
        mask = torch.ones(height, width, dtype=torch.bool, device=of.device)
        mask[top:bottom, left:right] = False
        v = of[:, row, column]
        return Prototype(
            image, float(v[channel]), float(v[channel] / v.norm().clamp_min(TINY)), (left, top, right, bottom), mask
        )

    def _checked(self, channel: int, count: int) -> None:
        if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < len(self.rotation):
            raise ValueError(f"channel must be 0 to {len(self.rotation) - 1}, got {channel!r}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"count must be a positive number of prototypes, got {count!r}")


def _averages(module: nn.Module) -> bool:
    return isinstance(module, (_AdaptiveAvgPoolNd, _AvgPoolNd))


def _of_folder(folder: str | Path, transform: Callable[[Any], Tensor] | None) -> dict[str, Tensor]:
    if transform is None:
        raise ValueError("a folder of images needs transform=, which converts an RGB image to an input (C, H, W)")
    from captum_ad._common.errors import InputError
    from captum_ad._common.images import load_photographs  # needs pillow

    try:
        photographs = load_photographs([str(folder)])
    except InputError as error:  # an error class for commands, not for callers
        raise ValueError(str(error)) from None
    return {one.name: transform(one.image)[None] for one in photographs}
