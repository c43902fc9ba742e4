"""The figure of a photograph: which side of the outline is kept, and what its words say."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from captum_ad._common.drawing import WHITENED
from captum_ad.cli.explanations import Explanation
from captum_ad.cli.figure import save_figure
from captum_ad.metrics.scan import ConfidenceCurve

SIDE = 20


def explained(mask, found=True):
    curve = ConfidenceCurve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), torch.tensor([False, True]))
    size = float(mask.float().mean()) if found else float("nan")
    kept, steps = torch.ones(4, dtype=torch.bool), torch.zeros(SIDE, SIDE, dtype=torch.long)
    return Explanation(mask, found, size, 0.9, 0.25, 0.5, steps, curve, kept)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draw one map of an explanation; return the figure, the gray photograph under the map, and all words."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **options: saved.append(self) or save(self, *args))

    def draw(explanation, **options):
        photograph = np.full((SIDE, SIDE, 3), 0.4)
        heat = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE)
        key = ("occlusion", "zero")
        superpixels = np.zeros((SIDE, SIDE), dtype=np.int64)
        save_figure(
            *(tmp_path / "x.png", "title", photograph, superpixels, ["occlusion"], ["zero"]),
            *({key: heat}, {key: explanation}),
            **options,
        )
        panel, scale = saved[-1].axes[1:]
        words = [one.get_text() for one in (*panel.texts, scale.title, *scale.get_xticklabels())]
        return saved[-1], np.asarray(panel.images[0].get_array()), words

    return draw


def test_what_is_not_kept_is_faded(drawn):
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[5:12, 3:9] = True
    _, under, _ = drawn(explained(mask))
    gray = 0.25 + 0.75 * 0.4
    np.testing.assert_allclose(under, np.where(mask, gray, WHITENED + (1 - WHITENED) * gray))


@pytest.mark.parametrize("found", [True, False])
def test_nothing_is_faded_if_nothing_is_outlined(drawn, found):
    _, under, _ = drawn(explained(torch.zeros(SIDE, SIDE, dtype=torch.bool), found))
    np.testing.assert_allclose(under, 0.25 + 0.75 * 0.4)


def test_the_words_say_what_the_numbers_are_and_fit_into_the_panel(drawn):
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:10] = True
    for found, first in ((True, "size 0.50, ρ 0.25"), (False, "not sufficient")):
        figure, _, words = drawn(explained(mask, found))
        assert f"{first}\nρ at size 0.3: 0.50" in words
        panel = figure.axes[1]
        for text in panel.texts:
            box, around = text.get_window_extent(), panel.get_window_extent()
            assert around.x0 <= box.x0
            assert box.x1 <= around.x1


@pytest.mark.parametrize("answer", ["class", "target"])
def test_the_legend_says_what_is_explained(drawn, answer):
    _, _, words = drawn(explained(torch.ones(SIDE, SIDE, dtype=torch.bool)), answer=answer)
    assert {f"against the {answer}", f"for the {answer}"} <= set(words)
    assert f"the part that alone keeps the {answer}, its size" in " ".join(" ".join(words).split())
