"""Differentiable soft masks, blended with a baseline or rounded for AD; and gradient clipping."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad._common.layers import modules_at
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.answers import Answering
from captum_ad._forwards.arguments import as_features
from captum_ad._forwards.baseline_forward import BaselineForward
from captum_ad._forwards.guard import on_purpose
from captum_ad._scoring import Judge, in_eval_mode
from captum_ad.attr.runner import Baselines, paint_of
from captum_ad.baselines import IMPUTATIONS
from captum_ad.targets.base import Given

GRADIENTS = ("straight-through", "masked")
"""Surrogate gradients of a mask that is all or nothing."""

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish, nn.ELU)
"""Modules whose activations are compared with those for the whole image, by default."""


class SoftForward:
    """Run one image under soft masks, and return the target's readout.

    Parameters
    ----------
    forward : ADForward, BaselineForward or nn.Module
        In eval mode.
    x : Tensor
        Shape (1, C, H, W).
    baselines : Tensor, int or float, optional
        The baseline of a plain model.
    more : tuple
        Further arguments of the forward. Of tensors as long as the batch, baselines too, only one row is used.
    row, count : int
        The row to use, and the batch size.
    judge : Judge
        Holds the target.
    gradient : {"straight-through", "masked"}
        Surrogate gradient for an ADForward.

    Raises
    ------
    ValueError, TypeError
        If baselines are given with a forward that takes masks, ``"masked"`` without an ADForward, or the model is in
        train mode.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        x: Tensor,
        baselines: Baselines,
        more: tuple[Any, ...],
        row: int,
        count: int,
        judge: Judge,
        gradient: str,
    ) -> None:
        if not isinstance(forward, nn.Module):
            raise TypeError(f"FEI needs a torch.nn.Module or an ADForward, got {type(forward).__name__}")
        in_eval_mode(forward)
        if isinstance(forward, Answering) and baselines is not None:
            raise ValueError(f"FEI got baselines together with {type(forward).__name__}, which needs none")
        if gradient == "masked" and not isinstance(forward, ADForward):
            raise ValueError('gradient="masked" needs an ADForward: leave it out, since baselines are differentiable')
        self.x, self.judge, self.masks_layers = x, judge, gradient == "masked"
        self.model = forward.model if isinstance(forward, Answering) else forward
        self.more = [_row(one, row, count) for one in more]
        self.forward: nn.Module = forward
        if isinstance(forward, ADForward):
            self.forward = copy.copy(forward)
            self.forward.skip_dead = False  # so that hooks see whole maps
        self.paint = None if isinstance(forward, Answering) else paint_of(_row(baselines, row, count), x, "FEI")
        if judge.asked.checks_whole:
            with torch.no_grad():
                judge.bind(self.whole())

    def whole(self) -> Any:
        """The readout of the whole image."""
        return self._readout(self.x.clone(), None)

    def __call__(self, keep: Tensor) -> Any:
        """The readout under soft masks in [0, 1], shape (B, 1, H, W)."""
        there = keep.detach() >= 0.5
        x = self.x.expand(len(keep), *self.x.shape[1:])
        if isinstance(self.forward, ADForward):
            return self._readout(x * _standing_for(keep, there), there)
        paint = self.paint
        if isinstance(self.forward, BaselineForward):
            given = self.forward.baseline
            adapts = given in IMPUTATIONS if isinstance(given, str) else callable(given)
            paint = self.forward.painted(x, there if adapts else torch.zeros_like(there))
        assert paint is not None
        return self._readout(x * keep + paint * (1 - keep), None)

    def _readout(self, x: Tensor, mask: Tensor | None) -> Any:
        more = [
            one.expand(len(x), *one.shape[1:]) if isinstance(one, Tensor) and one.dim() else one for one in self.more
        ]
        if isinstance(self.forward, Answering):
            asked = self.forward.with_target(self.judge.asked)
            masks = None if mask is None else (mask, *(None for _ in more))
            with on_purpose():  # masks are passed explicitly, or painted already
                return asked.outputs(x, *more, mask=masks)
        return self.judge.asked.readout(self.forward(x, *more), Given((x, *more)))


def _standing_for(soft: Tensor, hard: Tensor) -> Tensor:
    """Straight-through: the hard mask's value in the forward pass, the soft mask's gradient in the backward pass."""
    return hard.to(soft) + soft - soft.detach()


def _row(arg: Any, row: int, count: int) -> Any:
    return as_features(arg[row : row + 1]) if isinstance(arg, Tensor) and arg.dim() and len(arg) == count else arg


class Clipped:
    """Context manager that zeroes gradients where a layer's activation exceeds that for the whole image.

    It must exceed it by more than rounding: by more than a thousandth of the layer's largest activation.

    Parameters
    ----------
    soft : SoftForward
        Its model is clipped.
    layers : sequence of str, optional
        Paths of modules; by default all :data:`RECTIFIERS`.
    clip : bool
        Whether to clip. If False and the forward masks no layers, nothing is done.

    Raises
    ------
    UnknownNameError
        If a layer is unknown; the message lists similar names.
    ValueError
        If a given layer does not run or does not return a tensor, if there is no layer to clip, or, with ``"masked"``,
        if no layer returns a map.
    """

    def __init__(self, soft: SoftForward, layers: Sequence[str] | None, clip: bool) -> None:
        self.soft, self.clip = soft, clip
        self.handles: list[Any] = []
        self.runs: dict[str, int] = {}
        self.slopes: list[Tensor] = []
        self.modules = self._chosen(layers) if clip or soft.masks_layers else {}
        self.originals: dict[str, list[Tensor]] = {name: [] for name in self.modules}
        self.begin()
        if not clip and not soft.masks_layers:
            return
        self._hook(lambda name, out: self.originals[name].append(out.detach().clone()))
        try:
            with torch.no_grad():
                soft.whole()
        finally:
            self._unhook()
        silent = [name for name, seen in self.originals.items() if not seen]
        if layers is not None and silent:
            raise ValueError(f"layer {silent[0]!r} did not run: choose a module that the model's forward calls")
        if soft.masks_layers and all(self._channels(one) is None for seen in self.originals.values() for one in seen):
            raise ValueError(
                'gradient="masked" needs layers that return maps (N, C, h, w), but none does: give other layers=, '
                'or use gradient="straight-through"'
            )

    def _chosen(self, layers: Sequence[str] | None) -> dict[str, nn.Module]:
        if layers is not None:
            return modules_at(self.soft.model, layers)
        found: dict[str, nn.Module] = {
            path: module for path, module in self.soft.model.named_modules() if path and isinstance(module, RECTIFIERS)
        }
        if not found:
            raise ValueError(
                "the network has no module of type ReLU or similar, whose gradients could be clipped: give "
                "layers=, or clip=False"
            )
        return found

    def __enter__(self) -> Clipped:
        self.handles.append(self.soft.model.register_forward_pre_hook(self._start))
        self._hook(self._reined)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unhook()

    def _hook(self, note: Callable[[str, Tensor], Any]) -> None:
        def hook(name: str, out: Any) -> None:
            if not isinstance(out, Tensor):
                raise ValueError(f"layer {name!r} returns {type(out).__name__}, expected a tensor")
            note(name, out)

        for name, module in self.modules.items():
            self.handles.append(module.register_forward_hook(lambda _, __, out, name=name: hook(name, out)))

    def _unhook(self) -> None:
        while self.handles:
            self.handles.pop().remove()

    def begin(self) -> None:
        """Reset before a new run."""
        self.slopes = []

    def _start(self, *_: Any) -> None:
        """Restart counting when the model starts: an ADForward may restart it."""
        self.runs = dict.fromkeys(self.modules, 0)

    def masked(self, keep: Tensor) -> Tensor:
        """A term whose gradient with respect to `keep` is that of the masked layers; its value is not used.

        If a layer's activations a are multiplied by a mask s that is 1, the gradient for s is Σ_c a · ∂L/∂a.
        """
        total = keep.new_zeros(())
        for slope in self.slopes:
            total = total + (F.adaptive_avg_pool2d(keep, (slope.shape[2], slope.shape[3])) * slope).sum()
        return total

    def _reined(self, name: str, out: Tensor) -> None:
        seen = self.originals[name]
        original = seen[self.runs[name] % len(seen)]
        self.runs[name] += 1
        if not out.requires_grad:
            return
        with torch._C.DisableTorchFunction():  # this is not part of the model
            channels = self._channels(out)
            values = out.detach().clone()
            if original.shape[1:] == out.shape[1:]:  # windowed layers fold windows into the batch
                original = original.repeat(len(out) // len(original), *(1 for _ in out.shape[1:]))
            exceeds = values - original > _rounding(original) if self.clip else None

        def rein(gradient: Tensor) -> Tensor:  # must not refer to `out`, or the cycle is never freed
            clipped = gradient if exceeds is None else gradient.masked_fill(exceeds, 0)
            if self.soft.masks_layers and channels is not None:
                slope = torch.where(clipped == 0, 0, clipped * values)  # dead positions hold arbitrary values
                self.slopes.append(slope.sum(channels).unsqueeze(1))
            return clipped

        out.register_hook(rein)

    def _channels(self, out: Tensor) -> int | None:
        """The channel dimension: 3 if the other sides then have the input's aspect ratio, else 1. None if not a map."""
        if out.dim() != 4:
            return None
        height, width = self.soft.x.shape[2:]

        def off(h: int, w: int) -> float:
            return float(abs(h - w * height / width))

        last = off(out.shape[1], out.shape[2]) < min(1, off(out.shape[2], out.shape[3]))
        sides = out.shape[1:3] if last else out.shape[2:]
        return None if sides.numel() == 1 else 3 if last else 1


def _rounding(original: Tensor) -> Tensor:
    """By how much an activation may exceed its original due to rounding, which differs between batch sizes."""
    share = max(1e-3, 8 * torch.finfo(original.dtype).eps)  # TF32 has ten bits
    return share * original.nan_to_num(0, 0, 0).abs().amax()
