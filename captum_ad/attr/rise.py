"""RISE (Petsiuk, Das and Saenko 2018), with features deactivated or painted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from captum_ad.attr.runner import Asked, Baselines, MaskRunner, masks_per_forward, positive


class Rise(PerturbationAttribution):  # type: ignore[misc]
    """RISE: *Randomized Input Sampling for Explanation of Black-box Models* (BMVC 2018, arXiv 1806.07421).

    Random grids determine which positions are kept. A position's attribution is the mean output over the
    masks that keep it: Σ output · mask / (n · p), equation 6 of the paper.

    Parameters
    ----------
    forward_func : callable
        An ADForward: masks are hard, and hidden features are deactivated. Or any forward function that
        Captum's attributors take, with ``baselines``. The paper explains probabilities: for that, let the
        model end in a softmax.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    >>> x = torch.rand(1, 1, 8, 8)
    >>> Rise(model).attribute(x, target=1, n_samples=20, grid=4).shape
    torch.Size([1, 1, 8, 8])
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        super().__init__(forward_func)

    @torch.no_grad()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines = None,
        target: Asked = None,
        additional_forward_args: Any = None,
        n_samples: int = 1000,
        grid: int = 8,
        probability: float = 0.5,
        soft: bool | None = None,
        perturbations_per_eval: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Compute attributions for a batch.

        Parameters
        ----------
        inputs : Tensor or tuple of Tensor
            Shape (N, C, *spatial) with one to three spatial dimensions, or (N, T), where each value is a position.
            Several inputs are masked at the same time, each with its own grids.
        baselines : Tensor, int, float or tuple of these, optional
            The baseline for hidden features; 0 if not given, as in the paper. Must be None with an ADForward.
        target : int or Target, or one per sample, optional
            An output index, for the raw output; or one of :mod:`captum_ad.targets`, for its confidence (for a class,
            its probability). None if the forward has a target or a single output.
        additional_forward_args : Any
            Passed to the forward function.
        n_samples : int
            Number of masks, which all samples of the batch share.
        grid : int
            Number of cells of the coarse grid along each spatial dimension.
        probability : float
            p, the probability that a cell is kept, in (0, 1).
        soft : bool, optional
            Bilinear masks as in the paper, or hard ones (nearest neighbor). Default: soft if features are
            painted, hard if they are deactivated, where soft masks raise ValueError.
        perturbations_per_eval : int, optional
            Masks per forward. Default: at most 8, fewer for large inputs.
        seed : int
            Random seed. Masks do not depend on `perturbations_per_eval`.
        show_progress : bool
            Show a progress bar.

        Returns
        -------
        Tensor or tuple of Tensor
            Shape of the inputs, equal in every channel.

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid.
        """
        runner = MaskRunner(self.forward_func, inputs, baselines, additional_forward_args, target, None, "Rise")
        positive(n_samples, "n_samples")
        batch = masks_per_forward(perturbations_per_eval, runner.inputs)
        for spatial in runner.spatial:
            if positive(grid, "grid") > min(spatial):
                raise ValueError(f"grid={grid} has more cells than the input has positions, {spatial}")
        if not 0 < probability < 1:
            raise ValueError(f"probability must be between 0 and 1, got {probability!r}")
        soft = not runner.takes_masks if soft is None else soft
        if soft and runner.takes_masks:
            raise ValueError("features cannot be partly deactivated by soft masks: use soft=False, or the plain model")

        sums = [
            torch.zeros(len(x), *spatial, dtype=torch.float64, device=x.device)
            for x, spatial in zip(runner.inputs, runner.spatial)
        ]
        generator = np.random.default_rng(seed)
        starts = tqdm(range(0, n_samples, batch), desc="Rise", disable=not show_progress)
        for start in starts:
            count = min(batch, n_samples - start)
            drawn = [
                [_mask(generator, grid, probability, spatial, soft) for spatial in runner.spatial] for _ in range(count)
            ]
            masks = [torch.stack(of_input).to(x.device) for of_input, x in zip(zip(*drawn), runner.inputs)]
            given = [mask.to(x.dtype) if soft else mask > 0.5 for mask, x in zip(masks, runner.inputs)]
            for i, judge in enumerate(runner.judges):
                scores = judge.asked.confidence(runner(i, given)).double()
                for total, mask in zip(sums, masks):
                    total[i] += torch.tensordot(scores, mask.double(), 1)
        return runner.shown([total / (n_samples * probability) for total in sums], inputs)


def _mask(
    generator: np.random.Generator, grid: int, probability: float, spatial: tuple[int, ...], soft: bool
) -> Tensor:
    """A random grid, upsampled to one cell more than the input and cropped at random; float32, shape (*spatial)."""
    coarse = torch.from_numpy((generator.random((grid,) * len(spatial)) < probability).astype(np.float32))
    cells = [-(-side // grid) for side in spatial]
    shift = [int(generator.integers(cell)) for cell in cells]
    size = [(grid + 1) * cell for cell in cells]
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(spatial)] if soft else "nearest"
    fine = F.interpolate(coarse[None, None], size, mode=mode, **({"align_corners": False} if soft else {}))[0, 0]
    for dim, (first, side) in enumerate(zip(shift, spatial)):
        fine = fine.narrow(dim, first, side)
    return fine
