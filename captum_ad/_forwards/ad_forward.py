"""ADForward: a model whose features can be missing."""

from __future__ import annotations

import importlib
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._engine import Interpreter, PositionMask
from captum_ad._engine.kept import KeptRun
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._engine.masks import full_mask
from captum_ad._engine.provenance import UnknownOriginError
from captum_ad._engine.tags import tensors_in
from captum_ad._forwards.answers import Answering, Masks, Select, plain_module
from captum_ad._forwards.arguments import Arranged, arrange, as_features
from captum_ad._forwards.compiled import refuse_compiled, refuse_transforms, untraced
from captum_ad._forwards.features import feature_mask, holds_nan
from captum_ad._forwards.following import followed
from captum_ad._forwards.guard import refuse_paint
from captum_ad._forwards.keeping import kept_run
from captum_ad._forwards.programs import Programs, ambient_programs
from captum_ad.targets.base import Target
from captum_ad.trace.recorder import Record, Tracer
from captum_ad.trace.records import Trace


class ADForward(Answering):
    """A trained model with Activation-Deactivation: ``ad(x, mask=m)`` runs it without the masked features.

    Missing features are not painted over. Instead, the activations that depend on them are switched off,
    layer by layer (ConvAD: Definitions 3 to 5 and Algorithm 1 of *Activation-Deactivation: A General
    Framework for Robust Post-hoc Explainable AI*, arXiv 2510.01038). Without a mask, the output equals
    the model's, bit for bit (Theorem 1). The model is not modified: its hooks, parameters, buffers, and
    train/eval flag stay as they were. Gradients flow through. Your own hooks see meaningless values
    at deactivated positions of inner maps; :meth:`trace` says which positions those are.

    Parameters
    ----------
    model : nn.Module
        A trained network in eval mode, with any Python ``forward``, on any device.
    rule : str or MaskRule
        The name of a preset in :data:`captum_ad.PRESETS`, a :class:`MaskRule`, or its settings as a string like
        ``"growth=none,border=mean"``. ``"paper"`` is the paper's rule to the letter; the default disturbs networks
        less when parts are missing.
    tau : float
        Threshold τ in [0, 1). A position stays active if more than this fraction of the features it is
        computed from is kept (Definition 4). The paper always uses 0.
    select : str, int or callable, optional
        The part of the model's output to use: its name, its index, or a function that picks it. Needed if the
        output is neither a tensor nor an object with ``logits`` or ``out``.
    target : Target, optional
        What to explain, one of :mod:`captum_ad.targets`. The forward then returns one score per sample.
    skip_dead : bool
        Skip work when no gradients are needed: positions outside the bounding box of everything active and, in
        Captum's attributors with a single image, activations that a mask leaves as they are for the whole image
        (elsewhere, use :func:`keeping_runs` for that). Results differ only by rounding (2e-5 for outputs of about 60
        in float32). False computes everything.

    Raises
    ------
    TypeError
        If `model` is not a module, or is already an ADForward or BaselineForward.
    ValueError
        If `tau` is not in [0, 1) or `rule` is unknown.

    Examples
    --------
    >>> import torch
    >>> from captum_ad import ADForward
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    >>> x, mask = torch.rand(1, 3, 8, 8), torch.ones(8, 8, dtype=torch.bool)
    >>> ad = ADForward(model)
    >>> torch.equal(ad(x), model(x))
    True
    >>> mask[:, :4] = False
    >>> junk = torch.where(mask, x, 1e30)
    >>> torch.equal(ad(x, mask=mask), ad(junk, mask=mask))
    True
    """

    def __init__(
        self,
        model: nn.Module,
        rule: str | MaskRule = "no-growth-mean",
        *,
        tau: float = 0.0,
        select: Select | None = None,
        target: Target | None = None,
        skip_dead: bool = True,
    ) -> None:
        super().__init__()
        self.model = plain_module(model)
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not math.isfinite(tau) or not 0 <= tau < 1:
            raise ValueError(f"tau must be a number with 0 <= tau < 1, got {tau!r}")
        if not isinstance(rule, (str, MaskRule)):
            raise TypeError(f"rule must be a preset's name or a MaskRule, got {type(rule).__name__}")
        if "torchvision.models.detection" in sys.modules:  # otherwise `model` cannot be one of its detectors
            importlib.import_module("captum_ad.adapters.detectors").register(model)
        self.rule = MaskRule.named(rule) if isinstance(rule, str) else rule
        self.tau = float(tau)
        self.skip_dead = bool(skip_dead)
        self._asks(select, target)
        self.training = getattr(model, "training", False)  # a frozen ScriptModule has no such attribute
        self._warned = False
        self._follow_memory = False  # turned on once the model turns out to need it
        self._programs = ambient_programs()

    def forward(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Tensor:
        """The model's output with the masked features missing.

        Parameters
        ----------
        *inputs
            The model's inputs, batch first. Tensors with a mask are features, shape (N, C, *spatial) with any number of
            spatial dimensions; all others are constants. Integer inputs become floats if some of them are masked.
        mask : Tensor, tuple of (Tensor or None) or dict, optional
            True (or 1) = keep, False (or 0) = deactivate; boolean, or any dtype with only 0 and 1.
            Shape (*spatial), (1|N, *spatial) or (1|N, 1|C, *spatial). A single tensor masks the first positional
            input, or the first tensor passed by name if there is none. A tuple has one entry per input; a dict
            maps input names to masks. A position with only some channels off loses those channels and stays active.
            Features that are NaN are deactivated too.
        **kwargs
            Passed to the model. Tensors among them are constants unless they are masked.

        Returns
        -------
        Tensor
            The target's score of each sample, shape (N,). Without a target: the output, or what `select` picks from it.
            It is zero at deactivated positions and does not depend on the masked values.

        Raises
        ------
        ValueError, TypeError
            If a mask does not fit its input, or the model does not return a tensor.
        UnsupportedOperationError
            If the model uses an operation that masks cannot be propagated through.
        """
        if torch.compiler.is_compiling():  # torch.compile must not trace into this: the model may itself be compiled
            out: Tensor = torch.compiler.disable(untraced)(self, *inputs, mask=mask, **kwargs)
            return out
        return self._forward(*inputs, mask=mask, **kwargs)

    def outputs(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Any:
        """The part of the model's output that the target reads; without a target, the output of :meth:`forward`.

        Parameters
        ----------
        *inputs, mask, **kwargs
            As for :meth:`forward`.

        Returns
        -------
        Any
            Usually a tensor of logits.
        """
        refuse_transforms()
        refuse_paint(mask, "ADForward")
        arranged = arrange(inputs, mask, kwargs)
        return self._run(Interpreter, arranged, self._masks(arranged))

    def trace(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Trace:
        """Show what the masks do in the network: run ``ad(x, mask=mask)`` once and record every mask.

        Parameters
        ----------
        *inputs, mask, **kwargs
            As for :meth:`forward`.

        Returns
        -------
        Trace
            The mask after each operation that changes it, the first operation where everything is active again, and
            the output, which equals ``ad(x, mask=mask)`` bit for bit. With nothing masked, everything is active.

        Raises
        ------
        ValueError, TypeError, UnsupportedOperationError
            As in :meth:`forward`.

        Examples
        --------
        >>> import torch
        >>> from captum_ad import ADForward
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Conv2d(2, 2, 3)).eval()
        >>> mask = torch.arange(6).expand(6, 6) < 3
        >>> print(ADForward(model, "paper").trace(torch.rand(1, 1, 6, 6), mask=mask))
        paper: 50 % of the input active, full after 1 (conv2d, operation 2 of 2)
           module  type    operation  shape    active
        0  input                      1×1×6×6    50 %
        1  0       Conv2d  conv2d     1×2×6×6  66.7 %
        2  1       Conv2d  conv2d     1×2×4×4   100 %
        full from here on
        """
        refuse_transforms()
        refuse_paint(mask, "ADForward")
        arranged = arrange(inputs, mask, kwargs)
        masks = self._masks(arranged)
        record = Record(arranged.inputs, masks)
        output = self._score(self._run(partial(Tracer, record), arranged, masks), inputs, kwargs)
        return Trace(record.operations, output, self.rule, self.tau)

    def compile(self, **options: Any) -> ADForward:  # type: ignore[override]  # for chaining
        """Compile the masked forward with torch.compile: one program per input shape, shared by all masks.

        The program does not depend on mask values and skips no dead positions. Without a mask, or with
        one that keeps everything, the compiled model runs. If an operation's rule needs the values of masks,
        the masked forward runs uncompiled; a warning names the first such operation. Returns the forward itself.

        Parameters
        ----------
        **options
            As for ``torch.compile``: ``mode``, ``backend``, ``options``, ….

        Examples
        --------
        >>> import torch
        >>> from captum_ad import ADForward
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()).eval()
        >>> ad = ADForward(model).compile(backend="eager")
        >>> ad(torch.rand(1, 3, 8, 8), mask=torch.arange(8).expand(8, 8) < 4).shape
        torch.Size([1, 144])
        """
        torch.compile(nn.Identity(), **options)  # raises now if the options are invalid
        self._programs = Programs(options)
        return self

    def extra_repr(self) -> str:
        """The rule and τ, for ``repr``."""
        return f"rule={self.rule}, tau={self.tau:g}"

    def _forward(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Tensor:
        return self._score(self.outputs(*inputs, mask=mask, **kwargs), inputs, kwargs)

    def _run(
        self,
        engine: Callable[..., Interpreter],
        given: Arranged,
        masks: list[PositionMask | None],
        *,
        always: bool = False,
    ) -> Any:
        """What the target reads: run by `engine` if something is masked or `always` is set, else by the plain model."""
        if getattr(getattr(self.model, "_orig_mod", self.model), "training", False) and not self._warned:
            self._warned = True
            warnings.warn(
                f"{type(self.model).__name__} is in train mode: BatchNorm and Dropout then mix samples, change the "
                "model, and break Theorem 1. Call model.eval() first.",
                stacklevel=6,  # the frames in between are torch's own
            )
        for name, value in given.more.items():
            if isinstance(value, Tensor) and holds_nan(value):
                raise ValueError(
                    f"{name} contains NaN, which marks a feature as masked: pass features by position, not by name"
                )
        if not always and all(m is None or m.is_full() for m in masks):
            model = self.model if self._programs is None else self._programs.plain(self.model)
            return self._read(self._selected(given.call(model, given.inputs)), given.inputs)
        refuse_compiled(self.model)
        if self._programs is not None and engine is Interpreter:
            call = self._programs.call(self, given, masks)
            if call is not None:
                return self._read_masked(call(), given, masks)
        keeps = engine is Interpreter and len(given.inputs) == 1 and not tensors_in(*given.more.values())

        def run() -> Any:
            kept = kept_run(self, given.inputs[0], masks[0], record) if keeps and self.skip_dead else None
            return self._followed(partial(engine, kept=kept) if kept else engine, given, masks)

        def record(kept: KeptRun) -> None:
            one = replace(given, inputs=(kept.x.clone(),), masks=(None,))  # the model may write into it
            self._followed(partial(Interpreter, kept=kept), one, [full_mask(kept.x)])

        try:
            return run()
        except UnknownOriginError:
            self._follow_memory = True
            return run()

    def _followed(self, engine: Callable[..., Interpreter], given: Arranged, masks: list[PositionMask | None]) -> Any:
        found = followed(self, engine, given, masks, skip_dead=self.skip_dead, memory=self._follow_memory)
        return self._read_masked(found, given, masks)

    def _read_masked(self, found: Any, given: Arranged, masks: list[PositionMask | None]) -> Any:
        inputs = tuple(x if m is None else as_features(x) for x, m in zip(given.inputs, masks))
        return self._read(found, inputs, [None if m is None else m.kept for m in masks])

    def _masks(self, given: Arranged) -> list[PositionMask | None]:
        """One mask per input: the given mask, with NaN features removed."""
        return [feature_mask(x, m, i) for i, (x, m) in enumerate(zip(given.inputs, given.masks))]
