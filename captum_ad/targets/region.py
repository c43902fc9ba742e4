"""A target for segmentation networks: a class in a region."""

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
    """A class of a segmentation network, in the region where the network predicts it or in a given region.

    Parameters
    ----------
    index : int or str
        The class index, or a name in `names`. 0 for a network with one logit per position, positive inside.
    where : Tensor, array or sequence of int, optional
        In positions of the output: a mask of bools, or of zeros and ones, shape (*spatial); a box (left, top, right,
        bottom), the last two exclusive; or a point (row, column), with one number per spatial dimension. By default,
        the positions where the network predicts the class for the whole input.
    reduction : {"mean", "sum"}
        How to reduce the class's output over the region to the score.
    threshold : float
        The answer is kept while the network predicts the class in more than this fraction of the region.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    to_confidence : {"softmax", "none"}
        ``"none"`` for a network that ends in a softmax, or in a sigmoid if it has one map.

    Examples
    --------
    >>> maps = torch.tensor([[[[0.0, 0.0]], [[1.0, 3.0]]]])  # one sample, two classes, 1 × 2 positions
    >>> Region(1).bound(maps).score(maps), Region(1, (0, 1)).score(maps)
    (tensor([2.]), tensor([3.]))
    """

    instead: ClassVar[str] = "explain a class that the model predicts in more of the region, or give a lower threshold="

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
        """If no region was given, until it is bound."""
        return self.where is None and self.found is None

    @property
    def checks_whole(self) -> bool:
        """Always: the outputs are checked for being logits."""
        return True

    def readout(self, output: Any, given: Given) -> Any:
        """Class maps, shape (N, classes, *spatial). A single map without a class dimension gets one."""
        maps = tensor_of(output)
        images = [x for x in given.inputs[:1] if isinstance(x, Tensor)]
        return maps[:, None] if images and maps.dim() == images[0].dim() - 1 else maps

    def bound(self, whole: Any) -> Target:
        """A copy that knows where the network predicts the class for the whole input; itself if a region was given.

        Raises
        ------
        ValueError
            If the class is predicted nowhere, or the outputs are probabilities where logits are expected.
        """
        maps = _maps(whole)
        if maps.shape[1] == 1 and not self.ends_in_probabilities and bool(((maps >= 0) & (maps <= 1)).all()):
            raise ValueError(
                "expected logits, but all outputs are between 0 and 1. If the network ends in a sigmoid, use "
                f"Region({self.index}, to_confidence='none')"
            )
        if self.where is not None:
            return self
        known = copy.copy(self)
        known.found = self._given(maps)
        empty = (~known.found.flatten(1).any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"the network predicts class {self.index} nowhere in sample {empty[0]}, so there is no region: explain "
                f"a class that it predicts, or give a region, Region({self.index}, mask, box or point)"
            )
        return known

    def score(self, readout: Any) -> Tensor:
        """The output for the class, reduced over the region, shape (N,)."""
        maps = _maps(readout)
        return self._over(column(maps, self.index), maps, self.reduction)

    def confidence(self, readout: Any) -> Tensor:
        """The mean probability of the class over the region, shape (N,)."""
        maps = _maps(readout)
        if not self.ends_in_probabilities:
            maps = maps.sigmoid() if maps.shape[1] == 1 else maps.softmax(1)
        return self._over(column(maps, self.index), maps, "mean")

    def kept(self, readout: Any) -> Tensor:
        """Whether the class is predicted in more than `threshold` of the region, shape (N,)."""
        maps = _maps(readout)
        return self._over(self._given(maps).to(maps.dtype), maps, "mean") > self.threshold

    def _given(self, maps: Tensor) -> Tensor:
        """Where the class is predicted, bool, shape (N, *spatial)."""
        own = column(maps, self.index)
        if maps.shape[1] == 1:
            return own > (0.5 if self.ends_in_probabilities else 0)
        return own > others(maps, self.index)  # in a tie, False: where all is missing, all outputs are 0

    def _over(self, values: Tensor, maps: Tensor, reduction: str) -> Tensor:
        region = self._region(maps).to(maps.device).expand_as(values)
        total = values.where(region, torch.zeros_like(values)).flatten(1).sum(1)
        return total if reduction == "sum" else total / region.flatten(1).sum(1)

    def _region(self, maps: Tensor) -> Tensor:
        """The region as a mask, bool, shape (1|N, *spatial)."""
        spatial = tuple(maps.shape[2:])
        if self.where is None:
            if self.found is None:
                raise ValueError("this Region needs the network's answer to the whole input first: call bound(readout)")
            return as_many(self.found, len(maps), "Region")
        if isinstance(self.where, Tensor):
            shape = tuple(self.where.shape)
            if shape[-len(spatial) :] != spatial or self.where.numel() != maps[0, 0].numel() or not self.where.any():
                raise ValueError(
                    f"the region has shape {shape}, expected the output's spatial shape {spatial} and at least one True"
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
            raise ValueError(f"{self.where!r} is neither a box nor a point within the output's spatial shape {spatial}")
        region = torch.zeros(spatial, dtype=torch.bool)
        region[tuple(place)] = True
        return region[None]

    def __repr__(self) -> str:
        where = f"{tuple(self.where.shape)}" if isinstance(self.where, Tensor) else self.where
        return f"Region({self.index}, where={where}, {self.reduction})"


def _place(where: Any) -> Tensor | tuple[int, ...]:
    """Convert `where` to a bool mask, or to the integers of a box or a point.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
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
                f"a region's mask must hold True and False, or 1 and 0, got {given.dtype} from {float(given.min()):g} "
                f"to {float(given.max()):g}: compare a label map with the label you mean, e.g. labels == 3"
            )
        return given.bool()
    if not bool((given == given.floor()).all()):
        raise ValueError(
            f"a box or a point must be in integer positions of the output, got {where!r}: round it, and note that the "
            "output may be smaller than the input"
        )
    return tuple(int(n) for n in given.tolist())


def _maps(readout: Any) -> Tensor:
    if not isinstance(readout, Tensor) or readout.dim() < 3:
        what = tuple(readout.shape) if isinstance(readout, Tensor) else type(readout).__name__
        raise ValueError(f"Region: the model returned {what}, expected class maps, (N, classes, *spatial)")
    return readout.float() if readout.dtype in (torch.float16, torch.bfloat16) else readout
