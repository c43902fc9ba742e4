"""A target of segmentation networks: a class in a region."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad.targets.base import Given, Target, as_many, column, others, tensor_of
from captum_ad.targets.classes import Names, checked_confidence, checked_threshold, index_of

Where = Tensor | npt.NDArray[Any] | Sequence[int]


class Region(Target):
    """A class of a segmentation network, in the region that the network gives to it, or in a region of yours.

    Parameters
    ----------
    index : int or str
        The class, or its name; 0 of a network with one logit per position, which is positive inside.
    where : Tensor, array or sequence of int, optional
        In the output's positions: a mask of bools, or of zeros and ones, shape (*spatial); a box (left, top, right,
        bottom), the last two exclusive; a point (row, column), or of as many numbers as the output has dimensions of
        space. By default the positions that the network gives to the class in the whole input.
    reduction : {"mean", "sum"}
        Over the region, of what attributors explain.
    threshold : float
        The answer is kept while more than that share of the region is still the class's.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    to_confidence : {"softmax", "none"}
        ``"none"`` for a network that ends in a softmax, or a sigmoid of its only map.

    Examples
    --------
    >>> maps = torch.tensor([[[[0.0, 0.0]], [[1.0, 3.0]]]])  # one sample, two classes, 1 × 2 positions
    >>> Region(1).bound(maps).score(maps), Region(1, (0, 1)).score(maps)
    (tensor([2.]), tensor([3.]))
    """

    instead: ClassVar[str] = "explain a class that the model gives to more of the region, or give a lower threshold="

    def __init__(
        self,
        index: int | str,
        where: Where | None = None,
        *,
        reduction: str = "mean",
        threshold: float = 0.5,
        names: Names | None = None,
        to_confidence: str = "softmax",
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise UnknownNameError("reduction", str(reduction), ("mean", "sum"))
        self.index, self.where = index_of(index, names), None if where is None else _place(where)
        self.reduction, self.threshold = reduction, checked_threshold(threshold)
        checked_confidence(to_confidence, ("softmax", "none"))
        self.ends_in_probabilities = to_confidence == "none"
        self.found: Tensor | None = None

    @property
    def needs_whole(self) -> bool:
        """Where no region was given, until it is bound."""
        return self.where is None and self.found is None

    @property
    def checks_whole(self) -> bool:
        """Always: the outputs of one map say whether they are logits."""
        return True

    def readout(self, output: Any, given: Given) -> Any:
        """Maps of classes; of a network whose only map has no dimension for classes, with that."""
        maps = tensor_of(output)
        images = [x for x in given.inputs[:1] if isinstance(x, Tensor)]
        return maps[:, None] if images and maps.dim() == images[0].dim() - 1 else maps

    def bound(self, whole: Any) -> Target:
        """It, knowing which positions the network gives to the class in the whole input.

        Raises
        ------
        ValueError
            If there is none.
        """
        maps = _maps(whole)
        if maps.shape[1] == 1 and not self.ends_in_probabilities and bool(((maps >= 0) & (maps <= 1)).all()):
            raise ValueError(
                "all outputs are between 0 and 1, as of a network that ends in a sigmoid, and logits are expected: say "
                f"Region({self.index}, to_confidence='none')"
            )
        if self.where is not None:
            return self
        known = copy.copy(self)
        known.found = self._given(maps)
        empty = (~known.found.flatten(1).any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"the network gives no position to class {self.index} in sample {empty[0]}: no region. Explain "
                f"a class that it finds, or say where: Region({self.index}, mask, box or point)"
            )
        return known

    def score(self, readout: Any) -> Tensor:
        """The class's output over the region."""
        maps = _maps(readout)
        return self._over(column(maps, self.index), maps, self.reduction)

    def confidence(self, readout: Any) -> Tensor:
        """Its mean probability over the region."""
        maps = _maps(readout)
        if not self.ends_in_probabilities:
            maps = maps.sigmoid() if maps.shape[1] == 1 else maps.softmax(1)
        return self._over(column(maps, self.index), maps, "mean")

    def kept(self, readout: Any) -> Tensor:
        """Whether more than the threshold's share of the region is still the class's."""
        maps = _maps(readout)
        return self._over(self._given(maps).to(maps.dtype), maps, "mean") > self.threshold

    def _given(self, maps: Tensor) -> Tensor:
        """Which positions get the class, bool, shape (N, *spatial)."""
        own = column(maps, self.index)
        if maps.shape[1] == 1:
            return own > (0.5 if self.ends_in_probabilities else 0)
        return own > others(maps, self.index)  # a tie is nobody's: where all is missing the network answers zeros

    def _over(self, values: Tensor, maps: Tensor, reduction: str) -> Tensor:
        region = self._region(maps).to(maps.device).expand_as(values)
        total = values.where(region, torch.zeros_like(values)).flatten(1).sum(1)
        return total if reduction == "sum" else total / region.flatten(1).sum(1)

    def _region(self, maps: Tensor) -> Tensor:
        """bool, shape (1|N, *spatial)."""
        spatial = tuple(maps.shape[2:])
        if self.where is None:
            if self.found is None:
                raise ValueError("this Region needs the network's answer to the whole input first: use bound(readout)")
            return as_many(self.found, len(maps), "Region")
        if isinstance(self.where, Tensor):
            shape = tuple(self.where.shape)
            if shape[-len(spatial) :] != spatial or self.where.numel() != maps[0, 0].numel() or not self.where.any():
                raise ValueError(
                    f"the region has shape {shape}, expected positions of the output, {spatial}, some True"
                )
            return self.where.reshape(1, *spatial)
        place = self.where
        if len(place) == 4 and len(spatial) == 2:
            left, top, right, bottom = place
            if 0 <= left < right <= spatial[1] and 0 <= top < bottom <= spatial[0]:
                region = torch.zeros(spatial, dtype=torch.bool)
                region[top:bottom, left:right] = True
                return region[None]
        if len(place) != len(spatial) or any(not 0 <= n < m for n, m in zip(place, spatial)):
            raise ValueError(f"{self.where!r} is neither a box nor a point of the output's positions, {spatial}")
        region = torch.zeros(spatial, dtype=torch.bool)
        region[tuple(place)] = True
        return region[None]

    def __repr__(self) -> str:
        where = f"{tuple(self.where.shape)}" if isinstance(self.where, Tensor) else self.where
        return f"Region({self.index}, where={where}, {self.reduction})"


def _place(where: Any) -> Tensor | tuple[int, ...]:
    """A mask of bools, or the whole numbers of a box or a point.

    Raises
    ------
    TypeError, ValueError
        If it is neither.
    """
    try:
        given = where.detach().cpu() if isinstance(where, Tensor) else torch.as_tensor(where)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"where must be a mask, a box or a point, got {where!r}") from error
    if given.dtype == torch.bool:
        return given
    if given.dim() != 1:
        if not bool(((given == 0) | (given == 1)).all()):
            raise ValueError(
                f"a region's mask holds True and False, or 1 and 0, got {given.dtype} from {float(given.min()):g} to "
                f"{float(given.max()):g}: compare it with the number that is meant, labels == 3"
            )
        return given.bool()
    if not bool((given == given.floor()).all()):
        raise ValueError(
            f"a box or a point is in whole positions of the output, got {where!r}: round it, and mind that the output "
            "may be smaller than the input"
        )
    return tuple(int(n) for n in given.tolist())


def _maps(readout: Any) -> Tensor:
    if not isinstance(readout, Tensor) or readout.dim() < 3:
        what = tuple(readout.shape) if isinstance(readout, Tensor) else type(readout).__name__
        raise ValueError(f"Region: the model returned {what}, expected maps of classes, (N, classes, *spatial)")
    return readout.float() if readout.dtype in (torch.float16, torch.bfloat16) else readout
