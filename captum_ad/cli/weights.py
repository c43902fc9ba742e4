"""Load weights from a file, only if all of them fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from captum_ad._common.errors import InputError
from captum_ad.cli.checkpoints import read_checkpoint

PREFIXES = ("module.", "model.", "net.", "network.", "model_ema.", "ema_model.", "ema.")
"""Prefixes that wrappers (DataParallel, Lightning modules, averaged models) add to the names of weights."""

_COMPILED = "_orig_mod."
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # GoogLeNet's and Inception's training heads: eval mode never runs them
_Head = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Loaded:
    """What was found in the file besides the weights.

    Attributes
    ----------
    class_names : sequence of str
        Names of the classes; empty if the file has none.
    classes : int, optional
        The new number of classes of the last layer, if it was resized to fit the file.
    notes : sequence of str
        Sentences about what was chosen and what was left out.
    """

    class_names: Sequence[str]
    classes: int | None
    notes: Sequence[str]


def load_weights(model: nn.Module, path: Path, *, resize_head: bool = False) -> Loaded:
    """Load the state dict in a file into a model.

    See :func:`~captum_ad.cli.checkpoints.read_checkpoint` for the files that can be read. The names may have the
    prefixes of wrappers, and the weights may have another precision.

    Parameters
    ----------
    model : nn.Module
        The model; it is changed only if everything fits.
    path : Path
        The file.
    resize_head : bool
        Resize the last layer to the file's number of classes, if nothing else differs.

    Raises
    ------
    InputError
        If the file is missing, is not a checkpoint, or does not fit the model.
    """
    checkpoint = read_checkpoint(path)
    wanted = model.state_dict()
    state, notes = _peeled(checkpoint.state, wanted)
    if checkpoint.others:
        beside = ", ".join(map(repr, checkpoint.others))
        notes.insert(0, f"The weights are those under {checkpoint.key!r} in {path.name}; it has {beside} as well.")
    needed = [key for key in wanted if not key.startswith(_AUXILIARY) and not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in state]
    unexpected = [key for key in state if key not in wanted and not key.startswith(_AUXILIARY)]
    shapes = [key for key in wanted if key in state and wanted[key].shape != state[key].shape]
    classes = None
    if shapes and not missing and not unexpected and resize_head:
        classes = _resized(model, state, shapes)
        shapes = [] if classes is not None else shapes
    if missing or unexpected or shapes:
        problems = [
            f"{len(keys)} of {of} {what} ({', '.join(keys[:3])}{' and so on' if len(keys) > 3 else ''})"
            for keys, of, what in (
                (missing, len(needed), "keys missing"),
                (unexpected, len(state), "keys unexpected"),
                (shapes, len(wanted), "of another shape"),
            )
            if keys
        ]
        raise InputError(
            f"the weights in {str(path)!r} do not fit {type(model).__name__}: {'; '.join(problems)}. If you changed "
            "the network, give a function that builds it: --model mine.py:make"
        )
    shapes_now = {key: value.shape for key, value in model.state_dict().items()}
    fitting = {key: value for key, value in state.items() if shapes_now.get(key) == value.shape}
    model.load_state_dict(fitting, strict=False)
    return Loaded(checkpoint.class_names, classes, notes)


def _peeled(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Remove wrappers' prefixes from the names as long as that makes more of them fit.

    Returns the state, and notes on what was left out.
    """
    peeled, notes = dict(state), []
    if not any(_COMPILED in key for key in wanted):
        peeled = {key.replace(_COMPILED, ""): value for key, value in peeled.items()}
    while True:
        fitting = len(peeled.keys() & wanted.keys())
        for prefix in PREFIXES:
            inner = {key.removeprefix(prefix): value for key, value in peeled.items() if key.startswith(prefix)}
            if len(inner.keys() & wanted.keys()) > fitting or (
                inner and not fitting and any(key.startswith(PREFIXES) for key in inner)
            ):
                left = [key for key in peeled if not key.startswith(prefix)]
                if left:
                    some = ", ".join(left[:3])
                    notes.append(
                        f"Left out of the weights, which are those under {prefix!r}: {len(left)} more ({some})."
                    )
                peeled = inner
                break
        else:
            return peeled, notes


def _resized(model: nn.Module, state: Mapping[str, Tensor], shapes: Sequence[str]) -> int | None:
    """Resize the layers in `shapes` to the file's number of outputs; return it, or None if something else differs."""
    before, after = set(), set()
    heads: dict[str, _Head] = {}
    for key in shapes:
        owner, _, name = key.rpartition(".")
        head = model.get_submodule(owner)
        there, given = getattr(head, name).shape, state[key].shape
        if not isinstance(head, _Head) or not given or there[1:] != given[1:] or getattr(head, "groups", 1) != 1:
            return None
        heads[owner] = head
        before.add(int(there[0]))
        after.add(int(given[0]))
    if len(before) != 1 or len(after) != 1:
        return None
    (classes,) = after
    for head in heads.values():
        for name, parameter in list(head.named_parameters(recurse=False)):
            shape = (classes, *parameter.shape[1:])
            setattr(head, name, nn.Parameter(torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)))
        setattr(head, "out_features" if isinstance(head, nn.Linear) else "out_channels", classes)
    return classes
