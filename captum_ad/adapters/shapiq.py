"""shapiq on an ADForward: a game whose players are superpixels; superpixels outside a coalition are missing.

shapiq computes Shapley values and interactions of any function of coalitions::

    game = SuperpixelGame(ADForward(model), x, superpixels(photograph, n_segments=10), target)
    values = shapiq.KernelSHAPIQ(game.n_players, max_order=2, random_state=0).approximate(512, game)
    values.dict_values  # of each superpixel, and of the interaction in each pair
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from captum_ad._common.geometry import segment_labels
from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence, asking, batch_of, masked, one_input, scored, whole_of


class SuperpixelGame:
    """A function from coalitions of superpixels to the confidence in a class if only these are kept.

    Parameters
    ----------
    forward : ADForward, BaselineForward or nn.Module
        The model, in eval mode. A plain model needs a `baseline`.
    x : Tensor
        One input, shape (1, C, H, W).
    superpixels : Tensor or array
        Any integer labels, shape (H, W) or (1, 1, H, W). Players are numbered in the order of labels.
    target : int or Target, optional
        The class index, or one of :mod:`captum_ad.targets`; None if the forward has a target.
    baseline : str, float, Tensor or callable, optional
        The baseline for a plain model's missing superpixels.
    to_confidence : str or callable
        As for :func:`~captum_ad.metrics.sufficient_explanation`.
    batch_size : int, optional
        Coalitions per forward. Default: 4 on the CPU, else 32.

    Attributes
    ----------
    n_players : int
        Number of superpixels.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, there are fewer than two superpixels, or the model, baseline or target is invalid.

    Examples
    --------
    >>> from captum_ad import ADForward
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> _ = nn.init.eye_(model[1].weight), nn.init.zeros_(model[1].bias)
    >>> game = SuperpixelGame(ADForward(model), torch.ones(1, 1, 2, 2), np.arange(4).reshape(2, 2), 1)
    >>> game(np.array([[True, True, True, True], [False, True, False, False]])).round(2)
    array([0.5 , 0.73])
    """

    def __init__(
        self,
        forward: nn.Module,
        x: Tensor,
        superpixels: Tensor | npt.NDArray[Any],
        target: Asked = None,
        *,
        baseline: Baseline | None = None,
        to_confidence: ToConfidence = "softmax",
        batch_size: int | None = None,
    ) -> None:
        one_input(x)
        self.forward, self.judge = asking(masked(forward, baseline), target, to_confidence)
        whole_of(self.forward, x, self.judge)
        self.x = x
        labels = torch.as_tensor(segment_labels(superpixels, (int(x.shape[-2]), int(x.shape[-1]))))
        self.labels = labels.long().to(x.device)
        self.n_players = int(self.labels.max()) + 1
        self.batch_size = batch_of(batch_size, x.device)

    def __call__(self, coalitions: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The confidences for coalitions.

        Parameters
        ----------
        coalitions : array
            bool, shape (n, n_players) or (n_players,), True = in the coalition.

        Returns
        -------
        array
            float64, shape (n,).

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        players = torch.as_tensor(np.atleast_2d(np.asarray(coalitions)).astype(bool), device=self.x.device)
        if players.dim() != 2 or players.shape[1] != self.n_players or not len(players):
            raise ValueError(f"the coalitions have shape {tuple(players.shape)}, expected (n, {self.n_players})")

        def run(start: int, stop: int) -> Any:
            mask = players[start:stop][:, self.labels]
            return self.forward.outputs(self.x.expand(stop - start, *self.x.shape[1:]), mask=mask)

        confidence, _ = scored(run, len(players), self.judge, self.batch_size)
        values: npt.NDArray[np.float64] = confidence.double().cpu().numpy()
        return values
