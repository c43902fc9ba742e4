"""Which part of a tensor a view is, so that a write to the view is known to change that part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from torch import Tensor

Index = tuple[Any, ...]


def views_of(
    op: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], out: Any
) -> Iterator[tuple[Tensor, Tensor, Index]]:
    """Yield (view, x, index) for each result that is a part of the operand: ``view = x[index]``.

    A view in another shape, such as a transposed one, has no such index.
    """
    find = _INDICES.get(getattr(op, "__name__", ""))
    if find is not None:
        named = dict(kwargs)
        x = args[0] if args else named.pop("input", named.pop("self", None))
        views = (out,) if isinstance(out, Tensor) else tuple(out)
        for view, index in zip(views, find(x, views, *args[1:], **named)):
            yield view, x, index


def _item(x: Tensor, views: Sequence[Tensor], index: Any) -> Sequence[Index]:
    parts = index if isinstance(index, tuple) else (index,)
    return [parts] if is_basic(parts) else []


def _along(x: Tensor, dim: int, parts: Sequence[Any]) -> Sequence[Index]:
    return [(*(slice(None),) * (dim % x.dim()), part) for part in parts]


def _select(x: Tensor, views: Sequence[Tensor], dim: int, index: int) -> Sequence[Index]:
    return _along(x, dim, [index])


def _narrow(x: Tensor, views: Sequence[Tensor], dim: int, start: int, length: int) -> Sequence[Index]:
    return _along(x, dim, [slice(int(start), int(start) + length)])


def _unbind(x: Tensor, views: Sequence[Tensor], dim: int = 0) -> Sequence[Index]:
    return _along(x, dim, range(len(views)))


def _pieces(x: Tensor, views: Sequence[Tensor], sizes: Any = None, dim: int = 0, **named: Any) -> Sequence[Index]:
    ends = list(accumulate(view.shape[dim] for view in views))
    return _along(x, dim, [slice(end - view.shape[dim], end) for end, view in zip(ends, views)])


_INDICES: dict[str, Callable[..., Sequence[Index]]] = {
    "__getitem__": _item,
    "select": _select,
    "narrow": _narrow,
    "unbind": _unbind,
    **dict.fromkeys(("split", "split_with_sizes", "tensor_split", "chunk"), _pieces),
}


def is_basic(index: Any) -> bool:
    """Whether indexing with `index` gives a view (no tensors or lists in it)."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)


def overlaps_itself(x: Tensor) -> bool:
    """Whether two elements of a tensor may share memory."""
    reach = 0
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape) if size > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
