"""FEI (Zhang and McMillan 2025): a mask optimized for insertion and deletion over an ensemble of quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from captum_ad._common.errors import UnknownNameError
from captum_ad._forwards.answers import Answering, refuse_both
from captum_ad._forwards.arguments import as_features, as_tuple
from captum_ad._scoring import Judge
from captum_ad.attr.runner import Asked, Baselines, judge_of, positive, targets_of
from captum_ad.attr.soft import GRADIENTS, Clipped, SoftForward

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Quantiles of the mask: with the 0.9 quantile as the threshold, a tenth of the image is kept."""


class FEI(PerturbationAttribution):  # type: ignore[misc]
    """Faithfulness-guided Ensemble Interpretation: one mask m that does well on insertion and deletion at every size.

    From *Beyond Output Faithfulness: Learning Attributions that Preserve Computational Pathways* (Zhang and McMillan
    2025, arXiv 2509.04588): ensemble quantile optimization of insertion and deletion curves, and selective gradient
    clipping. For every quantile q, ``keep = sigmoid((m − quantile_q(m)) / T)`` is the kept part of the image. With p
    the target's confidence, the loss is ``−log p(keep shown) − log(1 − p(keep hidden))``, averaged over q. Where an
    activation exceeds that for the whole image by more than rounding, its gradient is set to zero, so that the mask
    does not exploit features that the image does not activate. We know only the source's abstract and outline. Our
    reading: the two logarithms; m is coarse, with `side` cells per dimension, and upsampled bilinearly; each step draws
    some quantiles without replacement until all have been used; Adam; and which layers are clipped.

    On an ADForward, hidden features are deactivated, which is all or nothing: keep is rounded, and the gradient is that
    of a soft mask in its place. With ``gradient="straight-through"`` the soft mask multiplies the input; with
    ``"masked"`` it also multiplies the activations of every layer in `layers`, resized to them. Deactivated positions
    have no gradient, but what one quantile or the insertion hides, another quantile or the deletion shows. On a
    BaselineForward, and on a plain model with `baselines`, soft masks blend the input with the baseline, as in the
    source.

    Parameters
    ----------
    forward_func : ADForward, BaselineForward or nn.Module
        In eval mode.

    Examples
    --------
    >>> from captum_ad import ADForward
    >>> body = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    >>> model = torch.nn.Sequential(*body).eval()
    >>> FEI(ADForward(model)).attribute(torch.rand(2, 3, 8, 8), target=1, n_steps=3, side=4).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        super().__init__(forward_func)

    def attribute(
        self,
        inputs: Tensor,
        baselines: Baselines = None,
        target: Asked = None,
        additional_forward_args: Any = None,
        n_steps: int = 60,
        side: int = 14,
        quantiles: Sequence[float] = QUANTILES,
        quantiles_per_step: int = 3,
        temperature: float = 0.3,
        learning_rate: float = 0.1,
        layers: Sequence[str] | None = None,
        clip: bool = True,
        gradient: str = "straight-through",
        seed: int = 0,
        show_progress: bool = False,
    ) -> Tensor:
        """Compute attributions for a batch, one image after the other.

        Parameters
        ----------
        inputs : Tensor
            Shape (N, C, H, W).
        baselines : Tensor, int or float, optional
            The baseline for a plain model's hidden features, broadcast to the input; 0 if not given. Must be None with
            an ADForward or a BaselineForward.
        target : int or Target, or one per sample, optional
            The class, or one of :mod:`captum_ad.targets` whose confidence is a probability. For a model that ends in a
            softmax, use ``Class(index, to_confidence="none")``. None if the forward has a target.
        additional_forward_args : Any
            Passed to the forward function.
        n_steps : int
            Steps of Adam.
        side : int
            Cells of the mask along each dimension, at least 2.
        quantiles : sequence of float
            Between 0 and 1.
        quantiles_per_step : int
            How many quantiles each step draws. Each needs one forward for insertion and one for deletion.
        temperature : float
            T, in units of m, which is initialized with normal noise of standard deviation 0.1.
        learning_rate : float
            Learning rate of Adam.
        layers : sequence of str, optional
            Paths of the modules whose gradients are clipped, and masked, as in ``model.named_modules()``. By default,
            all modules of type ReLU and similar.
        clip : bool
            Whether to clip gradients.
        gradient : {"straight-through", "masked"}
            Surrogate gradient for an ADForward's mask. ``"masked"`` needs an ADForward.
        seed : int
            Random seed of the initial mask and of the quantiles drawn.
        show_progress : bool
            Show a progress bar.

        Returns
        -------
        Tensor
            m, upsampled to the input's shape and equal in every channel. Its values have no unit; they rank positions.

        Raises
        ------
        UnknownNameError
            If the name of a layer or gradient is unknown; the message lists similar ones.
        ValueError, TypeError
            If an argument is invalid, a layer did not run or does not return a tensor, or the target's confidence is
            not a probability or has no gradient.
        """
        if not isinstance(inputs, Tensor) or inputs.dim() != 4:
            shape = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise ValueError(f"FEI needs images, shape (N, C, H, W), got {shape}")
        positive(n_steps, "n_steps")
        positive(side, "side", 2)
        positive(quantiles_per_step, "quantiles_per_step")
        if len(quantiles) == 0 or not all(0 < q < 1 for q in quantiles):
            raise ValueError(f"quantiles must be one or more numbers between 0 and 1, got {quantiles!r}")
        for name, value in (("temperature", temperature), ("learning_rate", learning_rate)):
            if not value > 0 or not math.isfinite(value):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if gradient not in GRADIENTS:
            raise UnknownNameError("gradient", gradient, GRADIENTS)
        if len(inputs) == 0:
            raise ValueError("FEI got an empty batch: give at least one image")
        if not bool(inputs.isfinite().all()):
            raise ValueError("the image contains NaN or Inf, so no mask can be learned for it: fix the input")
        own = self.forward_func.target if isinstance(self.forward_func, Answering) else None
        refuse_both(own, target, "FEI")
        asked = targets_of(own if target is None else target, inputs, "FEI")
        found = []
        with torch.inference_mode(False):  # inference tensors have no backward, so they are cloned
            x = as_features(inputs).detach().clone()
            more = tuple(one.clone() if isinstance(one, Tensor) else one for one in as_tuple(additional_forward_args))
            paint = baselines.clone() if isinstance(baselines, Tensor) else baselines
            for i, one in enumerate(asked):
                judge = judge_of(one, "softmax")
                soft = SoftForward(self.forward_func, x[i : i + 1], paint, more, i, len(x), judge, gradient)
                clipped = Clipped(soft, layers, clip)
                mask = torch.randn(side, side, generator=torch.Generator().manual_seed(seed)).mul(0.1)
                mask = mask.to(x.device, torch.promote_types(x.dtype, torch.float32))
                learn = _Learning(judge, soft, clipped, mask, tuple(quantiles), temperature, seed)
                bar = tqdm(range(n_steps), desc="FEI", disable=not show_progress)
                found.append(learn.run(bar, min(quantiles_per_step, len(quantiles)), learning_rate))
            return torch.cat([one.to(x.dtype).expand_as(x[:1]) for one in found]).contiguous()


class _Learning:
    """The mask of one image."""

    def __init__(
        self,
        judge: Judge,
        soft: SoftForward,
        clipped: Clipped,
        mask: Tensor,
        quantiles: tuple[float, ...],
        temperature: float,
        seed: int,
    ) -> None:
        self.judge, self.soft, self.clipped, self.mask = judge, soft, clipped, mask
        self.quantiles, self.temperature = quantiles, temperature
        self.generator = torch.Generator().manual_seed(seed)
        self.left: list[float] = []

    def run(self, steps: Any, per_step: int, learning_rate: float) -> Tensor:
        """Optimize the mask and return it at the input's size, shape (1, 1, H, W)."""
        with torch.enable_grad(), self.clipped:
            self.mask.requires_grad_()
            optimizer = torch.optim.Adam([self.mask], lr=learning_rate)
            for _ in steps:
                self.mask.grad = self.gradient([self.drawn() for _ in range(per_step)])
                optimizer.step()
        return self.enlarged().detach()

    def drawn(self) -> float:
        """Draw a quantile; every quantile is drawn once before any is drawn again."""
        if not self.left:
            order = torch.randperm(len(self.quantiles), generator=self.generator).tolist()
            self.left = [self.quantiles[i] for i in order]
        return self.left.pop()

    def enlarged(self) -> Tensor:
        """The mask at the input's size, shape (1, 1, H, W)."""
        return F.interpolate(self.mask[None, None], self.soft.x.shape[2:], mode="bilinear", align_corners=False)

    def confidence(self, keep: Tensor) -> Tensor:
        """The confidence under soft masks, clamped so that its logarithms and their gradients are finite."""
        found: Tensor = self.judge.asked.confidence(self.soft(keep))
        if not bool(((found >= 0) & (found <= 1 + 1e-3)).all()):
            raise ValueError(
                f"FEI needs a target whose confidence is a probability, but {self.judge.asked!r} returned values from "
                f"{found.min():.3g} to {found.max():.3g}: use Class, MultiLabel, Binary, Group or Contrast"
            )
        if not found.requires_grad:
            raise ValueError("the target's confidence has no gradient: check the model for no_grad() or detach()")
        least = max(1e-30, 8 * torch.finfo(found.dtype).tiny)
        wide = found.to(self.mask.dtype)
        return wide.clamp(least, 1 - torch.finfo(wide.dtype).eps)

    def gradient(self, quantiles: Sequence[float]) -> Tensor:
        """The gradient of the insertion and deletion loss, averaged over quantiles."""
        self.clipped.begin()
        keep = kept(self.enlarged(), quantiles, self.temperature)
        both = torch.cat([keep, 1 - keep])
        inserted, deleted = self.confidence(both.to(self.soft.x.dtype)).split(len(keep))
        lost = -(inserted.log() + (1 - deleted).log()).mean()
        (found,) = torch.autograd.grad(lost, [self.mask], retain_graph=True, allow_unused=True)
        found = torch.zeros_like(self.mask) if found is None else found
        if self.clipped.slopes:
            found = found + torch.autograd.grad(self.clipped.masked(both), [self.mask])[0]
        return found


def kept(mask: Tensor, quantiles: Sequence[float], temperature: float) -> Tensor:
    """The kept part, ``sigmoid((m − quantile_q(m)) / T)``, for every quantile q.

    Parameters
    ----------
    mask : Tensor
        m, shape (1, 1, H, W).
    quantiles : sequence of float
        Between 0 and 1.
    temperature : float
        T.

    Returns
    -------
    Tensor
        In [0, 1], shape (quantiles, 1, H, W).

    Examples
    --------
    >>> kept(torch.tensor([[[[0.0, 1.0, 2.0]]]]), [0.5], 1.0)
    tensor([[[[0.2689, 0.5000, 0.7311]]]])
    """
    thresholds = torch.quantile(mask.flatten(), mask.new_tensor(list(quantiles)))
    return torch.sigmoid((mask - thresholds.reshape(-1, 1, 1, 1)) / temperature)
