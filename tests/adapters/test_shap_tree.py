"""ImageMasker's tree of positions and segments, and the shapes that it takes."""

import numpy as np
import pytest

pytest.importorskip("shap")
from captum_ad.adapters.shap import ImageMasker, segment_tree
from tests.pictures import SHAPE, six_segments


@pytest.fixture
def segments():
    return six_segments()


@pytest.mark.parametrize("shape", [(12, 16), (1, 12, 16, 3), (0, 16, 3), (1, 1, 3)])
def test_shapes_that_are_no_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape must be \(H, W, C\)"):
        ImageMasker(shape)


def test_what_does_not_fit_the_shape_is_refused():
    masker, photograph = ImageMasker(SHAPE), np.zeros(SHAPE, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"shape \(3, 12, 16\).*made for \(12, 16, 3\).*channels last"):
        masker(True, photograph.transpose(2, 0, 1))
    with pytest.raises(ValueError, match=r"the mask has shape \(576,\)"):
        masker(np.ones(576, dtype=bool), photograph)
    with pytest.raises(ValueError, match=r"\(16, 12\) but the image has \(12, 16\)"):
        ImageMasker(SHAPE, np.arange(192).reshape(16, 12))
    with pytest.raises(ValueError, match="1 segment"):
        ImageMasker(SHAPE, np.zeros(SHAPE[:2], dtype=int))


def leaves(tree, node, total):
    if node < total:
        return [node]
    return [leaf for child in tree[node - total, :2] for leaf in leaves(tree, int(child), total)]


@pytest.mark.parametrize("segmented", [False, True])
def test_the_tree_joins_every_position_once(segments, segmented):
    tree = ImageMasker(SHAPE, segments if segmented else None).clustering
    total = SHAPE[0] * SHAPE[1]
    assert tree.shape == (total - 1, 4)
    assert sorted(leaves(tree, 2 * total - 2, total)) == list(range(total))
    for i in range(total - 1):
        assert tree[i, 3] == len(leaves(tree, total + i, total))
        assert max(tree[i, :2]) < total + i


def test_the_tree_of_segments_has_each_as_one_undivided_branch(segments):
    labels = np.unique(segments, return_inverse=True)[1].reshape(segments.shape)
    tree = segment_tree(labels)
    total = labels.size
    found = []

    def descend(node):  # as shap does: to where the distance is negative
        if node < total or tree[node - total, 2] < 0:
            found.append(sorted(leaves(tree, node, total)))
        else:
            descend(int(tree[node - total, 0]))
            descend(int(tree[node - total, 1]))

    descend(2 * total - 2)
    assert sorted(found) == sorted(np.flatnonzero(labels.ravel() == label).tolist() for label in range(6))


def test_a_tree_of_many_segments_is_shallow():
    labels = np.arange(64 * 64).reshape(64, 64) // 4
    tree = segment_tree(labels)

    def depth(node):
        return 0 if node < labels.size else 1 + max(depth(int(child)) for child in tree[node - labels.size, :2])

    assert depth(2 * labels.size - 2) == 12  # 4096 positions, halved each time
