"""Shapes that masks are broadcast to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad._engine.masks import broadcast

SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=4).map(tuple), min_size=1, max_size=3)


@given(SHAPES)
def test_shapes_broadcast_as_torch_broadcasts_them(shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        with pytest.raises(RuntimeError, match=r"mismatch|broadcast"):
            broadcast(*shapes)
    else:
        assert broadcast(*shapes) == expected
