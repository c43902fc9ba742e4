"""Scenes: the same for the same seed, and what leaving a part out changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ad.benchmarks.scenes import PARTS, draw, scene, visible
from captum_ad.benchmarks.scenes.looks import CLASSES, LOOKS, STRAY, classes
from captum_ad.benchmarks.scenes.pieces import SHAPES, Look, Piece, rendered
from captum_ad.benchmarks.scenes.shapley import subsets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("photographs")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "noise.png")
    return place


class TestDraw:
    @pytest.mark.parametrize("background", ["smooth", "textured", "photographs"])
    def test_the_same_for_the_same_seed_and_another_for_another(self, background, folder):
        source = folder if background == "photographs" else background
        first, again, other = (draw(scene(seed, background=source)) for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.dtype == torch.float32
        assert first.shape == (3, 64, 64)
        assert 0 <= first.min() < first.max() <= 1

    @pytest.mark.parametrize("seed", range(6))
    def test_many_at_once_are_what_each_is_alone(self, seed):
        one = scene(seed, background="textured")
        assert torch.equal(draw(one, subsets()), torch.stack([draw(one, flags.tolist()) for flags in subsets()]))

    def test_drawing_leaves_the_scene_as_it_was(self):
        one = scene(5)
        before = draw(one)
        draw(one, [False] * 5).zero_()
        assert torch.equal(draw(one), before)

    def test_the_background_does_not_depend_on_the_class(self):
        empty = [draw(scene(8, label=label), [False] * 5) for label in range(CLASSES)]
        assert all(torch.equal(one, empty[0]) for one in empty)

    @pytest.mark.parametrize("present", [[True] * 4, torch.ones(2, 2, 5), [[True] * 6]])
    def test_flags_of_another_shape_are_refused(self, present):
        with pytest.raises(ValueError, match=r"present must say for each of the 5 parts"):
            draw(scene(0), present)


class TestVisible:
    @pytest.mark.parametrize("seed", range(10))
    def test_nothing_else_changes_when_a_part_is_left_out(self, seed):
        one = scene(seed, background=("smooth", "textured")[seed % 2])
        for flags, part in itertools.product(subsets()[::3].tolist(), range(len(PARTS))):
            there, lacking = ([*flags[:part], kept, *flags[part + 1 :]] for kept in (True, False))
            changed = (draw(one, there) != draw(one, lacking)).any(0)
            seen = visible(one, part, flags)
            assert not (changed & ~seen).any()
            assert changed.sum() > 0.9 * seen.sum()  # all but what happens to have the color behind it

    def test_every_part_shows_in_every_scene(self):
        for seed, part in itertools.product(range(100), range(len(PARTS))):
            assert visible(scene((9, seed)), part).sum() >= 30

    def test_what_is_in_front_hides_what_is_behind(self):
        one = scene(2)
        alone = visible(one, 2, [False, False, True, False, False])
        behind = visible(one, 2)
        assert (alone & ~behind).any()
        assert not (behind & ~alone).any()

    def test_there_is_no_sixth_part(self):
        with pytest.raises(ValueError, match="part must be from 0 to 4, got 5"):
            visible(scene(0), 5)


class TestClasses:
    @pytest.mark.parametrize("seed", range(20))
    def test_any_two_differ_in_two_parts(self, seed):
        pairs = list(itertools.combinations(classes(seed), 2))
        assert len(pairs) == CLASSES * (CLASSES - 1) / 2
        assert min(sum(a != b for a, b in zip(*pair)) for pair in pairs) >= 2

    def test_looks_of_a_part_differ_in_shape_color_and_texture(self):
        for looks in LOOKS:
            for name in ("shape", "texture", "colors"):
                assert len({getattr(look, name) for look in looks}) == len(looks)
            assert not {look.shape for look in looks} & set(STRAY)


def test_seeds_that_are_none():
    for seed in (-1, 1.5, True, "1"):
        for given in ({"seed": seed}, {"seed": (0, seed)}, {"seed": 0, "classes_seed": seed}):
            with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
                scene(**given)


class TestBackgrounds:
    def test_unknown(self):
        with pytest.raises(ValueError, match="unknown background 'smoth': did you mean 'smooth'"):
            scene(0, background="smoth")

    def test_a_folder_without_photographs(self, tmp_path):
        (tmp_path / "notes.txt").write_text("none")
        with pytest.raises(ValueError, match=r"has no photographs: expected \.jpg"):
            scene(0, background=tmp_path)

    def test_no_folder(self, tmp_path):
        with pytest.raises(ValueError, match="is not a folder"):
            scene(0, background=tmp_path / "none")

    def test_a_broken_photograph(self, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"none")
        with pytest.raises(ValueError, match=r"cannot read the photograph .*broken.png"):
            draw(scene(0, background=tmp_path))


class TestPieces:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_shapes_lie_within_their_window_and_have_soft_edges(self, shape):
        piece = Piece(Look(shape, 9, 7, "dots", ((1, 0, 0), (0, 0, 1))), 31.3, 32.6, 0.7, 1.2, 0.0)
        layer = rendered(piece)
        assert layer.coverage[[0, -1]].max() == 0 == layer.coverage[:, [0, -1]].max()
        assert layer.coverage.max() == 1
        assert ((layer.coverage > 0) & (layer.coverage < 1)).any()

    def test_outside_of_the_scene(self):
        look = Look("box", 3, 3, "plain", ((1, 1, 1), (1, 1, 1)))
        assert rendered(Piece(look, -50, 200, 0, 1, 0)).coverage.size == 0

    @pytest.mark.parametrize("names", [("sphere", "plain"), ("box", "wool")])
    def test_unknown_names(self, names):
        with pytest.raises(ValueError, match=r"unknown (shape|texture)"):
            Look(names[0], 3, 3, names[1], ((1, 1, 1), (1, 1, 1)))
