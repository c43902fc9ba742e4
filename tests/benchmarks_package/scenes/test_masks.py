"""What is hidden for a part, and the names of maskings."""

from __future__ import annotations

import pytest
import torch

from captum_ad import PRESETS, MaskRule
from captum_ad.benchmarks.scenes import MASK_SHAPES, PARTS, Scene, hidden_pixels, scene, visible
from captum_ad.benchmarks.scenes.behind import Background
from captum_ad.benchmarks.scenes.masks import named_maskings
from captum_ad.benchmarks.scenes.pieces import Look, Piece

BOX = Look("box", 4, 3, "plain", ((1, 0, 0), (1, 0, 0)))
FAR = [Piece(BOX, -90, -90, 0, 1, 0)] * 4
BOXED = Scene(0, Background("smooth", 0), (), (Piece(BOX, 20, 30, 0, 1, 0), *FAR))
"""The first part is a box of 8 × 6 whole pixels, the others lie outside."""


@pytest.mark.parametrize("seed", range(5))
def test_shapes_contain_the_exact_pixels(seed):
    one = scene(seed)
    exact = hidden_pixels(one)
    assert torch.equal(exact, torch.stack([visible(one, part) for part in range(len(PARTS))]))
    for shape in ("grown", "box"):
        assert not (exact & ~hidden_pixels(one, shape)).any()
    assert torch.equal(hidden_pixels(one, "grown", grow=0), exact)
    assert hidden_pixels(one, "superpixels").flatten(1).any(1).all()


def test_known_pixels():
    box = torch.zeros(64, 64, dtype=torch.bool)
    box[27:33, 16:24] = True
    grown = torch.zeros(64, 64, dtype=torch.bool)
    grown[24:36, 13:27] = True
    assert torch.equal(hidden_pixels(BOXED)[0], box)
    assert torch.equal(hidden_pixels(BOXED, "box")[0], box)
    assert torch.equal(hidden_pixels(BOXED, "grown", grow=3)[0], grown)
    assert (hidden_pixels(BOXED, "superpixels")[0] & box).sum() > 24  # most of it


@pytest.mark.parametrize("shape", MASK_SHAPES)
def test_nothing_is_hidden_for_what_does_not_show(shape):
    assert not hidden_pixels(BOXED, shape)[1:].any()


def test_bad_input():
    with pytest.raises(ValueError, match="unknown mask shape 'boxes': did you mean 'box'"):
        hidden_pixels(BOXED, "boxes")
    with pytest.raises(ValueError, match="grow must be a non-negative number of pixels, got -1"):
        hidden_pixels(BOXED, "grown", grow=-1)


class TestNames:
    def test_of_rules_words_and_functions(self):
        def mine(x, mask):
            return x

        given = [MaskRule(), "ad:growth=none,border=mean", "avg", 0.5, mine]
        assert list(named_maskings(given)) == ["ad:paper", "ad:growth=none,border=mean", "avg", "0.5", "mine"]
        assert named_maskings({"own": "ad:growth=none,average=active"}) == {"own": PRESETS["no-growth"]}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["agv"], "unknown masking 'agv': did you mean 'avg'"),
            (["ad:papper"], "unknown rule 'papper': did you mean 'paper'"),
            (["ad:paper", MaskRule()], "two maskings have the name 'ad:paper'"),
            ([], "maskings is empty"),
            ("avg", "expected a list of maskings"),
        ],
    )
    def test_bad_input(self, given, message):
        with pytest.raises(ValueError, match=message):
            named_maskings(given)
