"""Backgrounds that explanations are planted on (K1 and K2 of the paper)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import MaskedForward
from captum_ad._scoring import ToConfidence, asking, batch_of, one_input, plain, scored, whole_of
from captum_ad.targets.base import Target


@dataclass(frozen=True)
class DrawnBackgrounds:
    """The backgrounds drawn for one input.

    Attributes
    ----------
    batch : callable
        Returns the backgrounds from a start index up to a stop index, shape (b, C, *spatial), created on demand.
    n : int
        Number of backgrounds.
    excluded : int
        Number of candidates left out because the model already predicts the target for them.
    """

    batch: Callable[[int, int], Tensor]
    n: int
    excluded: int = 0


class Backgrounds(Protocol):
    """A source of backgrounds: any object with this method."""

    def draw(
        self, model: nn.Module, x: Tensor, target: int | Target, *, batch_size: int | None = None
    ) -> DrawnBackgrounds:
        """The backgrounds for an input. Repeated calls return the same ones."""


@dataclass(frozen=True)
class SolidColors:
    """K1: images of one random color each, uniformly distributed over the valid pixel range.

    Parameters
    ----------
    n : int
        Number of images. A larger `n` starts with the same ones.
    seed : int
        Random seed of the colors.
    mean, std : float or sequence of float
        Normalization of the model's input, per channel: a pixel value v becomes (v − mean) / std.
    low, high : float
        Pixel range before normalization.

    Raises
    ------
    ValueError
        If `n` or `std` is not positive, or `low` is not less than `high`.

    Examples
    --------
    >>> k1 = SolidColors(n=2, seed=0, mean=0.5, std=0.5)
    >>> colors = k1.draw(torch.nn.Identity(), torch.zeros(1, 3, 4, 4), 0)
    >>> colors.batch(0, 2).shape, float(colors.batch(0, 2).abs().max()) <= 1
    (torch.Size([2, 3, 4, 4]), True)
    """

    n: int = 100
    seed: int = 0
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _positive(self.n)
        if not bool((torch.as_tensor(self.std) > 0).all()):
            raise ValueError(f"std must be positive, got {self.std!r}")
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, got {self.low} and {self.high}")

    def draw(
        self, model: nn.Module, x: Tensor, target: int | Target, *, batch_size: int | None = None
    ) -> DrawnBackgrounds:
        """The colors as images of the shape, dtype and device of `x`.

        Parameters
        ----------
        model : nn.Module
            Not used: colors are kept whatever the model predicts for them.
        x : Tensor
            The input, shape (1, C, *spatial), normalized with `mean` and `std`.
        target : int
            Not used.
        batch_size : int, optional
            Not used.

        Raises
        ------
        ValueError
            If `x` has values outside the valid pixel range. Its normalization is then different, and the
            model would not know such colors.

        Warns
        -----
        UserWarning
            If the pixels span less than a fiftieth of the range, e.g. 0 to 1 instead of 0 to 255.
        """
        one_input(x)
        channels = x.shape[1]
        mean, std = (_per_channel(value, x) for value in (self.mean, self.std))
        pixels = x.detach().double() * std.to(x.device) + mean.to(x.device)
        slack = 0.02 * (self.high - self.low)  # half precision and resampling may exceed the range
        lowest, highest = float(pixels.min()), float(pixels.max())
        if not self.low - slack <= lowest <= highest <= self.high + slack:
            raise ValueError(
                f"without normalization, the input's pixels range from {lowest:.3g} to {highest:.3g}, outside of "
                f"{self.low:g} to {self.high:g}: give SolidColors the mean and std that the input was normalized with"
            )
        if lowest < highest and highest - lowest < 0.02 * (self.high - self.low):
            warnings.warn(
                f"the pixels range only from {lowest:.3g} to {highest:.3g}, not {self.low:g} to {self.high:g}, so the "
                "model may not know such colors: check whether pixels are in units of 0 to 1 or of 0 to 255",
                stacklevel=2,
            )
        drawn = torch.from_numpy(np.random.default_rng(self.seed).random((self.n, channels)))
        values = (self.low + (self.high - self.low) * drawn).reshape(self.n, channels, *(1,) * (x.dim() - 2))
        colors = ((values - mean) / std).to(x)
        return DrawnBackgrounds(lambda start, stop: colors[start:stop].expand(-1, -1, *x.shape[2:]), self.n)


@dataclass(frozen=True)
class OtherClassImages:
    """K2: images of other classes in a data set, drawn without replacement.

    Parameters
    ----------
    dataset : sized, indexable
        Items are (input, label): a model input, shape (C, *spatial), and a class index.
    n : int
        Number of images; fewer if the data set has no more.
    seed : int
        Random seed of the draw.
    to_confidence : str or callable
        As for :func:`~captum_ad.metrics.sufficient_explanation`.

    Raises
    ------
    ValueError
        If `n` is not positive or the data set is empty.
    """

    dataset: Any = field(repr=False)
    n: int = 100
    seed: int = 0
    to_confidence: ToConfidence = "softmax"

    def __post_init__(self) -> None:
        _positive(self.n)
        if len(self.dataset) == 0:
            raise ValueError("the data set of OtherClassImages is empty")

    def draw(
        self, model: nn.Module, x: Tensor, target: int | Target, *, batch_size: int | None = None
    ) -> DrawnBackgrounds:
        """Images whose label is not `target` and for which the model does not predict it either.

        Parameters
        ----------
        model : nn.Module
            The plain model.
        x : Tensor
            The input; only its shape, dtype and device matter.
        target : int or Target
            The class that no background may have, or a target that the model must not predict for it.
        batch_size : int, optional
            Candidates per forward.

        Returns
        -------
        DrawnBackgrounds
            Loaded from the data set in batches. `excluded` counts images for which the model predicts the target.

        Raises
        ------
        ValueError
            If no image is left, or an image of the data set has another shape than `x`.
        """
        one_input(x)
        size = batch_of(batch_size, x.device)
        forward, judge = asking(plain(model), target, self.to_confidence)
        whole_of(forward, x, judge)
        chosen: list[int] = []
        excluded = 0
        candidates = iter(np.random.default_rng(self.seed).permutation(len(self.dataset)).tolist())
        while len(chosen) < self.n:
            some = self._next_of_other_classes(candidates, target, min(size, self.n - len(chosen)))
            if not some:
                break
            judged = scored(partial(_run_on, forward, _stacked(some, x)), len(some), judge, size)[1].tolist()
            excluded += sum(judged)
            chosen += [index for index, called in zip(some, judged) if not called]
        if not chosen:
            raise ValueError(
                f"no background is left: all {len(self.dataset)} images of the data set have class {target}, by label "
                "or by the model's prediction. Use a data set with other classes"
            )
        return DrawnBackgrounds(lambda start, stop: self._load(chosen[start:stop], x), len(chosen), excluded)

    def _load(self, indices: Sequence[int], x: Tensor) -> Tensor:
        return _stacked({index: self.item(index)[0] for index in indices}, x)

    def _next_of_other_classes(self, candidates: Iterator[int], target: int | Target, count: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for index in candidates:
            image, label = self.item(index)
            if isinstance(target, Target) or _one_class(label, index) != target:
                found[index] = image
                if len(found) == count:
                    break
        return found

    def item(self, index: int) -> tuple[Any, Any]:
        """An input of the data set and its label.

        Raises
        ------
        TypeError
            If the item is not a pair.
        """
        item = self.dataset[index]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise TypeError(f"item {index} of the data set is {type(item).__name__}, expected (input, label)")
        return item[0], item[1]


def _one_class(label: Any, index: int) -> int:
    try:
        return int(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"the label of item {index} of the data set must be a class index, got {type(label).__name__}: for other "
            "labels, explain one of captum_ad.targets, e.g. MultiLabel(0), which does not use them"
        ) from error


def _run_on(forward: MaskedForward, inputs: Tensor, start: int, stop: int) -> Any:
    return forward.outputs(inputs[start:stop])


def _stacked(images: Mapping[int, Any], x: Tensor) -> Tensor:
    """Images of a data set, by index, as a batch like `x`."""
    for index, image in images.items():
        if not isinstance(image, Tensor) or image.shape != x.shape[1:]:
            what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(f"item {index} of the data set is {what}, expected the input's shape {tuple(x.shape[1:])}")
    return torch.stack(list(images.values())).to(x)


def _per_channel(value: float | Sequence[float], x: Tensor) -> Tensor:
    """One number, or one per channel, ready to broadcast to `x`, on the CPU."""
    tensor = torch.as_tensor(value, dtype=torch.float64).flatten()
    if len(tensor) not in (1, x.shape[1]):
        raise ValueError(
            f"mean and std need one value, or one for each of the {x.shape[1]} channels, got {len(tensor)}"
        )
    return tensor.reshape(-1, *(1,) * (x.dim() - 2))


def _positive(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a positive integer, got {n!r}")
