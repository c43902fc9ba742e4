"""Plant explanations on backgrounds, and run the plain model on the results."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_ad._scoring import Judge, batch_of, plain, scored, whole_of
from captum_ad.metrics.backgrounds import DrawnBackgrounds


def planted(inputs: Tensor, mask: Tensor, backgrounds: Tensor) -> Tensor:
    """Plant an explanation's pixels on backgrounds.

    Parameters
    ----------
    inputs : Tensor
        The explained input, shape (1, C, *spatial).
    mask : Tensor
        bool, True = in the explanation, shape (*spatial) or (n, 1, *spatial).
    backgrounds : Tensor
        Shape (n, C, *spatial).

    Returns
    -------
    Tensor
        Shape (n, C, *spatial).
    """
    return torch.where(mask, inputs, backgrounds)


def planted_scores(
    model: nn.Module,
    inputs: Tensor,
    masks: Tensor,
    backgrounds: DrawnBackgrounds,
    judge: Judge,
    batch_size: int | None = None,
    progress: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Score every explanation on every background, in batches. Composites are created one batch at a time.

    Parameters
    ----------
    model : nn.Module
        The plain model. An ADForward runs like its model.
    inputs : Tensor
        Shape (1, C, *spatial).
    masks : Tensor
        bool, shape (M, *spatial). Duplicates run only once.
    backgrounds : DrawnBackgrounds
        n backgrounds.
    judge : Judge
        Scores the outputs.
    batch_size : int, optional
        Composites per forward.
    progress : str, optional
        Title of a progress bar.

    Returns
    -------
    kept : Tensor
        Whether the target is the answer, bool, shape (M, n).
    confidence : Tensor
        Confidence in the target, shape (M, n).
    """
    distinct, which = torch.unique(masks, dim=0, return_inverse=True)
    runner = plain(model).with_target(judge.asked)
    whole_of(runner, inputs, judge)
    count, mask_of = len(distinct), torch.arange(len(distinct), device=inputs.device)

    def run(start: int, stop: int) -> Tensor:
        first = start // count
        some = backgrounds.batch(first, (stop - 1) // count + 1)
        pairs = torch.arange(start, stop, device=inputs.device)
        mask = distinct[mask_of[pairs % count], None]
        output: Tensor = runner.outputs(planted(inputs, mask, some[pairs // count - first]))
        return output

    size = batch_of(batch_size, inputs.device)
    confidence, kept = scored(run, count * backgrounds.n, judge, size, progress)
    return kept.reshape(-1, count).T[which], confidence.reshape(-1, count).T[which]
