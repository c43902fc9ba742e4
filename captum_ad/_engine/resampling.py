"""The axes of results where a map is read between its positions."""

from __future__ import annotations

from dataclasses import replace

import torch

from captum_ad._engine.axes import Axes, Role, axis
from captum_ad._engine.dimensions import Call, follows, unknown, windowed


@follows("affine_grid")
def _grid(call: Call) -> Axes:
    """One transformation for the whole map: the points are statistics, made from it and from constants."""
    shape = call.out.shape
    places = [axis(Role.STATISTIC, size) for size in shape[1:-1]]
    return replace(call.x, dims=(call.x.dims[0], *places, axis(Role.CHANNEL, shape[-1])))


@follows("grid_sample", torch.grid_sampler, torch.grid_sampler_2d, torch.grid_sampler_3d)
def _sampled(call: Call) -> Axes:
    shape, x = call.out.shape, call.of(call.given(0, "input"))
    if x is None:  # a constant map, read at points that are computed from features
        return replace(call.x, dims=(call.x.dims[0], axis(Role.CHANNEL, shape[1]), *call.x.dims[1:-1]))
    return replace(x, dims=(*x.dims[:2], *(axis(Role.POSITION, size) for size in shape[2:])))


@follows("torchvision::roi_align")
def _boxes(call: Call) -> Axes:
    """Several maps, each a part of one sample."""
    x, boxes, shape = call.of(call.given(0, "input")), call.given(1, "rois"), tuple(call.out.shape)
    if x is None:
        return unknown(shape, [call.x])
    inside, samples = windowed(x, (x.shape[0], *shape[1:]), 2), x.shape[0]
    if samples == 1:
        return replace(inside, dims=(axis(Role.BRANCH, shape[0]), *inside.dims[1:]))
    in_order = boxes[:, 0].long().tolist() == list(range(samples))
    return inside if in_order else unknown(shape, [x])


@follows("torchvision::deform_conv2d")
def _deformed(call: Call) -> Axes:
    """Like a convolution."""
    x, shape = call.x, tuple(call.out.shape)
    slid = windowed(x, (*x.shape[:2], *shape[2:]), 2)
    return replace(slid, dims=(slid.dims[0], axis(Role.CHANNEL, shape[1]), *slid.dims[2:]))
