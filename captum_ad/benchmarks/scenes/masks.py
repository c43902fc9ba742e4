"""The pixels that are hidden for a part, and the maskings that hide them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from captum_ad._common.errors import UnknownNameError
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._forwards.baseline_forward import Masking
from captum_ad.benchmarks.scenes.drawing import Scene, draw, visible
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.metrics.masking_names import all_maskings, masking_name, named_masking
from captum_ad.segmentation import superpixels

MASK_SHAPES = ("exact", "grown", "box", "superpixels")
"""How hidden pixels are chosen around the visible pixels of a part; see :func:`hidden_pixels`."""

SEGMENTS = 100
"""The approximate number of superpixels of a scene."""


def hidden_pixels(scene: Scene, shape: str = "exact", *, grow: int = 2) -> Tensor:
    """The pixels to hide for each part of a scene.

    Parameters
    ----------
    scene : Scene
        A scene with all its parts.
    shape : {"exact", "grown", "box", "superpixels"}
        ``"exact"``: the pixels that change when the part is left out. ``"grown"``: all pixels within `grow`
        rows and columns of those. ``"box"``: their bounding box. ``"superpixels"``: the SLIC superpixels of
        the whole scene of which the part covers more than half, and in any case the one that holds most of
        the part.
    grow : int
        How far ``"grown"`` reaches, in pixels, at least 0.

    Returns
    -------
    Tensor
        bool, True = hide, shape (5, 64, 64). Nothing is hidden for a part that is not visible.

    Raises
    ------
    UnknownNameError
        If there is no such shape.
    ValueError
        If `grow` is not a non-negative integer.
    """
    if shape not in MASK_SHAPES:
        raise UnknownNameError("mask shape", shape, MASK_SHAPES)
    if isinstance(grow, bool) or not isinstance(grow, int) or grow < 0:
        raise ValueError(f"grow must be a non-negative number of pixels, got {grow!r}")
    exact = torch.stack([visible(scene, part) for part in range(len(PARTS))])
    if shape == "grown":
        return functional.max_pool2d(exact[:, None].float(), 2 * grow + 1, 1, grow)[:, 0] > 0
    if shape == "box":
        rows, columns = exact.any(2), exact.any(1)
        return _between(rows)[:, :, None] & _between(columns)[:, None, :]
    return exact if shape == "exact" else _over_superpixels(scene, exact)


def _between(flags: Tensor) -> Tensor:
    """True from the first True to the last, along the last dimension."""
    return (flags.cumsum(-1) > 0) & (flags.flip(-1).cumsum(-1).flip(-1) > 0)


def _over_superpixels(scene: Scene, exact: Tensor) -> Tensor:
    labels = superpixels(draw(scene), n_segments=SEGMENTS)[0, 0]
    members = functional.one_hot(labels.flatten()).float()  # (pixels, superpixels)
    shared = exact.flatten(1).float() @ members
    chosen = shared > members.sum(0) / 2
    shows = exact.flatten(1).any(1)
    chosen[shows, shared.argmax(1)[shows]] = True
    return chosen[:, labels]


def named_maskings(maskings: Sequence[Masking] | Mapping[str, Masking]) -> dict[str, Masking]:
    """Maskings by name.

    Parameters
    ----------
    maskings : sequence of maskings, or mapping from names to maskings
        In a sequence, a string names itself, a rule is named ``"ad:PRESET"`` or ``"ad:KNOB=VALUE,KNOB=VALUE"``
        (which may also be given as strings), and a function has its ``__name__``.

    Raises
    ------
    UnknownNameError
        If a string is not the name of a masking.
    ValueError
        If there are no maskings, or two have the same name.

    Examples
    --------
    >>> named_maskings(["ad:growth=none,average=active", "avg"])
    {'ad:no-growth': MaskRule(growth='none', ...), 'avg': 'avg'}
    """
    if isinstance(maskings, str):
        raise ValueError(f"expected a list of maskings, got the string {maskings!r}: write [{maskings!r}]")
    pairs = maskings.items() if isinstance(maskings, Mapping) else ((None, given) for given in maskings)
    named: dict[str, Masking] = {}
    for own, given in pairs:
        masking = named_masking(given) if isinstance(given, str) else given
        if isinstance(masking, str) and masking not in all_maskings():
            raise UnknownNameError("masking", masking, all_maskings())
        name = own or _called(masking)
        if name in named:
            raise ValueError(f"two maskings have the name {name!r}: give a mapping from your own names to maskings")
        named[name] = masking
    if not named:
        raise ValueError("maskings is empty: give at least one")
    return named


def _called(masking: Masking) -> str:
    if isinstance(masking, MaskRule):
        return masking_name(masking)
    if isinstance(masking, Tensor):
        return f"tensor{tuple(masking.shape)}"
    return str(getattr(masking, "__name__", type(masking).__name__)) if callable(masking) else str(masking)
