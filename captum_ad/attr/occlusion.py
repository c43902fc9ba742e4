"""Occlusion in a region of interest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from captum_ad._forwards.features import kept_features
from captum_ad._forwards.keeping import keeping_runs
from captum_ad.attr.runner import Asked, Baselines, MaskRunner, masks_per_forward, positive


class RegionOcclusion(PerturbationAttribution):  # type: ignore[misc]
    """Occlusion restricted to a region of interest, which needs fewer forwards.

    Like MONAI's ``OcclusionSensitivity`` with a region: only windows that overlap the region run, and they hide nothing
    outside of it. If the region is the whole input, values equal those of Captum's ``Occlusion``.

    Parameters
    ----------
    forward_func : callable
        An ADForward, or any forward function together with ``baselines``.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    >>> x, roi = torch.rand(1, 1, 8, 8), torch.arange(8).expand(8, 8) < 2
    >>> found = RegionOcclusion(model).attribute(x, roi, (1, 2, 2), target=1)
    >>> bool(found[..., :2].all()), bool(found[..., 2:].any())
    (True, False)
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        super().__init__(forward_func)

    @torch.no_grad()
    @keeping_runs()
    def attribute(
        self,
        inputs: Tensor,
        roi: Tensor,
        sliding_window_shapes: Sequence[int],
        strides: int | Sequence[int] | None = None,
        baselines: Baselines = None,
        target: Asked = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
    ) -> Tensor:
        """Compute attributions for a batch.

        Parameters
        ----------
        inputs : Tensor
            Shape (N, C, *spatial), or (N, T), where each value is a position.
        roi : Tensor
            The region, bool, True = inside; shape (*spatial), (1|N, *spatial) or (1|N, 1|C, *spatial).
        sliding_window_shapes : sequence of int
            Window shape as in Captum: (C, *sides) with all channels; (side,) for inputs (N, T).
        strides : int or sequence of int, optional
            As in Captum: one stride for all dimensions, or one per dimension of the window. 1 by default.
        baselines, target, additional_forward_args, show_progress
            As for :class:`~captum_ad.attr.Rise`.
        perturbations_per_eval : int, optional
            Windows per forward. Default: at most 8, fewer for large inputs.

        Returns
        -------
        Tensor
            Shape of the input: how much the score drops, averaged over the windows that cover a position; 0 outside
            the region.

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid, or the region is empty.
        """
        who = "RegionOcclusion"
        runner = MaskRunner(self.forward_func, inputs, baselines, additional_forward_args, target, None, who)
        if len(runner.inputs) > 1:
            raise ValueError(f"{who} explains one input, got {len(inputs)}: pass the others as additional_forward_args")
        x, spatial = runner.inputs[0], runner.spatial[0]
        batch = masks_per_forward(perturbations_per_eval, runner.inputs)
        window, steps = _windows(x, spatial, sliding_window_shapes, strides)
        inside = kept_features(x, roi, "roi")
        region = (inside.any(1) if x.dim() > 2 else inside).expand(len(x), *spatial)
        if not bool(region.flatten(1).any(1).all()):
            raise ValueError("roi is empty, so no window would run: set it to True inside the region")
        drops, covering = (torch.zeros(region.shape, dtype=torch.float64, device=x.device) for _ in range(2))
        for i, judge in enumerate(runner.judges):
            whole = judge.asked.score(runner(i, runner.filled(True))).double()
            met = [part for part in _places(spatial, window, steps) if bool(region[i][part].any())]
            starts = range(0, len(met), batch)
            for start in tqdm(starts, desc=who, disable=not show_progress):
                some = met[start : start + batch]
                hidden = torch.zeros(len(some), *spatial, dtype=torch.bool, device=x.device)
                for mask, part in zip(hidden, some):
                    mask[part] = region[i][part]
                scores = judge.asked.score(runner(i, [~hidden])).double()
                drops[i] += torch.tensordot(whole - scores, hidden.double(), 1)
                covering[i] += hidden.sum(0)
        found = runner.shown([drops / covering.clamp(min=1)], inputs)
        return found if isinstance(found, Tensor) else found[0]


def _windows(
    x: Tensor, spatial: tuple[int, ...], shape: Sequence[int], strides: int | Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """The window's sides and strides in each spatial dimension."""
    channels = [x.shape[1]] if x.dim() > 2 else []
    expected = f"({', '.join([*map(str, channels), *['side'] * len(spatial)])})"
    given = tuple(shape)
    if len(given) != len(channels) + len(spatial) or any(a < b for a, b in zip(given, channels)):
        raise ValueError(
            f"sliding_window_shapes is {given}, expected {expected}: all channels, and one side per spatial dimension"
        )
    steps = (1,) * len(given) if strides is None else (strides,) * len(given) if isinstance(strides, int) else strides
    if len(steps) != len(given):
        raise ValueError(f"strides is {tuple(steps)}, expected one number, or one per dimension of the window {given}")
    skip = len(channels)
    sides = [positive(side, "sliding_window_shapes") for side in given[skip:]]
    if any(side > length for side, length in zip(sides, spatial)):
        raise ValueError(f"the window {given} is larger than the input, {tuple(x.shape)}")
    return sides, [positive(step, "strides") for step in tuple(steps)[skip:]]


def _places(spatial: tuple[int, ...], window: list[int], steps: list[int]) -> Iterator[tuple[slice, ...]]:
    """The positions of the window, in Captum's order. The last window may extend beyond the input."""
    starts = [
        [step * k for k in range(math.ceil((size - side) / step) + 1)]
        for size, side, step in zip(spatial, window, steps)
    ]
    for corner in itertools.product(*starts):
        yield tuple(slice(first, first + side) for first, side in zip(corner, window))
