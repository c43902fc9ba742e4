"""Attention maps: the weights of every attention layer in a transformer, recorded where they are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_ad._common.errors import UnknownNameError
from captum_ad._forwards.answers import Answering
from captum_ad._scoring import in_eval_mode


def attention_maps(
    model: nn.Module, *inputs: Any, layers: Sequence[str] | None = None, **kwargs: Any
) -> dict[str, Tensor]:
    """The attention weights of every attention layer in a network from Hugging Face, torchvision, timm, or your own.

    The network runs once. Attention is recorded where it is computed: in ``scaled_dot_product_attention``, in
    ``nn.MultiheadAttention``, or in a softmax over the last of four dimensions, or of three if samples and heads are
    merged. So you need not set any option of the model. The model is not modified.

    Parameters
    ----------
    model : nn.Module
        The model, in eval mode. An ADForward or BaselineForward is unwrapped.
    *inputs, **kwargs
        Arguments of the model.
    layers : sequence of str, optional
        Paths of the modules that compute attention, as in ``model.named_modules()``. Default: all.

    Returns
    -------
    dict of str to Tensor
        Weights by path, in the order of execution, shape (N, heads, queries, keys); rows add up to 1. If a module runs
        several times, the last run counts.

    Raises
    ------
    UnknownNameError
        If no module of that name computes attention; the message lists similar ones that do.
    ValueError, TypeError
        If the network has no attention, or is in train mode.

    Examples
    --------
    >>> model = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=8, batch_first=True).eval()
    >>> {path: tuple(weights.shape) for path, weights in attention_maps(model, torch.rand(1, 5, 8)).items()}
    {'self_attn': (1, 2, 5, 5)}
    """
    if isinstance(layers, str):
        raise ValueError(f"layers must be a sequence of paths, got {layers!r}: write [{layers!r}]")
    in_eval_mode(model)
    plain = model.model if isinstance(model, Answering) else model
    samples = next((len(x) for x in (*inputs, *kwargs.values()) if isinstance(x, Tensor) and x.dim()), 1)
    watcher = _Watcher(samples)
    with torch.no_grad(), watcher.following(plain), watcher:
        plain(*inputs, **kwargs)
    if not watcher.seen:
        raise ValueError(
            f"no attention found in {type(plain).__name__}, since no layer takes a softmax over keys: pass a "
            "transformer"
        )
    for name in layers or ():
        if name not in watcher.seen:
            raise UnknownNameError("attention layer", name, watcher.seen)
    return watcher.seen if layers is None else {name: watcher.seen[name] for name in layers}


class _Watcher(TorchFunctionMode):
    """Record attention weights by the path of the module that computes them."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.seen: dict[str, Tensor] = {}
        self._inside: list[str] = []

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Track which module of the model is running, inside a with block."""
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_, path=path: self._inside.append(path)))
            handles.append(module.register_forward_hook(self._left, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _left(self, *_: Any) -> None:
        """Hook for the end of a module. It leaves the output unchanged."""
        self._inside.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return self._multi_head(func, args, kwargs)
        out = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._note(_weights(*args, **kwargs))
        elif func in _SOFTMAX and out.dim() in (3, 4) and _dimension(args, kwargs) in (-1, out.dim() - 1):
            self._note(out)
        return out

    def _multi_head(self, func: Any, args: Any, kwargs: Any) -> Any:
        asked, average = kwargs.get("need_weights", True), kwargs.get("average_attn_weights", True)
        out, weights = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
        self._note(weights)
        return out, None if not asked else weights.mean(-3) if average else weights

    def _note(self, weights: Tensor) -> None:
        if weights.dim() == 3 and len(weights) % self.samples == 0:
            weights = weights.unflatten(0, (self.samples, -1))
        path = self._inside[-1] if self._inside else ""
        self.seen.pop(path, None)
        self.seen[path] = weights.detach().clone()


_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


def _dimension(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return kwargs.get("dim", args[1] if len(args) > 1 else None)


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights that ``scaled_dot_product_attention`` multiplies the values by."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1)
