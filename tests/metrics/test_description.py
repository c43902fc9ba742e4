"""What is said in words is what the arrays say: each statement is read back and measured again."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad import ADForward
from captum_ad.metrics import SolidColors, rho_robustness, sufficient_explanation
from captum_ad.metrics.description import PLACES, describe, percent
from captum_ad.targets import Class, Contrast, Group, Region
from tests.metrics.models import answer, noise, small_net

SENTENCE = re.compile(
    r"(?:(?P<share>(?:under |over )?\d+%) of what speaks for the answer lies in the (?P<place>[a-z ]+)"
    r"|What speaks for the answer is spread out: the (?P<mostly>[a-z ]+) has the most, (?P<spread>\d+%), on(?=,? ))"
    r",? (?P<even>\d+%) of the image(?:; (?P<against>(?:under |over )?\d+%) of the map's weight speaks against it)?\."
)


def means(text: str, value: float) -> bool:
    """Whether a percentage in words stands for a share."""
    if text == "under 1%":
        return 0 < value < 0.005
    if text == "over 99%":
        return 0.995 <= value < 1
    return abs(float(text.rstrip("%")) / 100 - value) <= 0.005 + 1e-9


def ninth(values: np.ndarray, place: str) -> tuple[float, float]:
    """The share of positive values in a place, pixel by pixel, and the share of pixels."""
    (row,) = [i for i, names in enumerate(PLACES) if place in names]
    column = PLACES[row].index(place)
    height, width = values.shape
    inside = total = count = 0.0
    for i in range(height):
        for j in range(width):
            here = round(height * row / 3) <= i < round(height * (row + 1) / 3)
            here = here and round(width * column / 3) <= j < round(width * (column + 1) / 3)
            total += max(0.0, values[i, j])
            inside += max(0.0, values[i, j]) * here
            count += here
    return inside / total, count / values.size


class TestWhere:
    @given(st.integers(3, 14), st.integers(3, 14), st.integers(0, 1000), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def test_statements_are_true(self, height, width, seed, shift):
        values = (noise(seed, (height, width)) ** 3 + shift).numpy()
        if not (values > 0).any():
            return
        found = describe(torch.from_numpy(values))
        said = SENTENCE.fullmatch(str(found)).groupdict()
        place = said["place"] or said["mostly"]
        share, even = ninth(values, place)
        assert means(said["share"] or said["spread"], share)
        assert means(said["even"], even)
        assert share == pytest.approx(max(ninth(values, name)[0] for names in PLACES for name in names))
        assert (said["place"] is not None) == (share >= 1.5 * even)
        against = -values[values < 0].sum() / abs(values).sum()
        assert (said["against"] is None) == (against == 0)
        assert said["against"] is None or means(said["against"], against)
        assert found.facts == pytest.approx({"place": place, "share": share, "even": even, "against": against})

    @pytest.mark.parametrize(
        ("at", "place"),
        [
            ((0, 0), "upper left"),
            ((0, 4), "upper middle"),
            ((4, 4), "center"),
            ((8, 4), "lower middle"),
            ((5, 8), "middle right"),
        ],
    )
    def test_places(self, at, place):
        values = torch.zeros(3, 9, 9)
        values[(1, *at)] = 2.0
        assert str(describe(values)) == f"100% of what speaks for the answer lies in the {place}, 11% of the image."

    def test_maps_that_say_nothing(self):
        assert str(describe(torch.zeros(4, 4))) == "The map is zero everywhere, and says nothing."
        nothing = describe(-torch.ones(1, 2, 4, 4))
        assert str(nothing) == "Nothing in the map speaks for the answer."
        assert nothing.facts == {"against": 1.0}
        assert "is spread out: the upper left has the most, 11%, on 11% of the image." in str(
            describe(torch.ones(9, 9))
        )

    def test_arrays_of_any_shape(self):
        assert str(describe(np.ones((1, 3, 9, 9)))) == str(describe(torch.ones(9, 9)))
        for wrong, match in ((torch.ones(4), "shape"), (torch.full((4, 4), math.nan), "NaN or Inf")):
            with pytest.raises(ValueError, match=match):
                describe(wrong)


class TestAlone:
    @pytest.mark.filterwarnings("ignore::captum_ad._common.errors.EmptyExplanationWarning")
    @pytest.mark.parametrize("seed", range(6))
    def test_of_real_explanations(self, seed):
        model, x, values = small_net(seed), noise(seed, (1, 2, 6, 6)).sigmoid(), noise(seed + 9, (6, 6))
        target = answer(model, x)
        explanation = sufficient_explanation(ADForward(model), x, values, target, gamma=0.9)
        robustness = rho_robustness(model, x, explanation, target, SolidColors(n=30, seed=seed))
        found = describe(values, explanation, robustness, backgrounds="solid colors")
        said = re.match(
            r"(\S+) of the image alone keeps the answer, at confidence (\S+); planted on (\d+) solid colors the "
            r"network gives it on (.+?) of them\. ",
            str(found),
        )
        if explanation.size == 0:
            assert str(found).startswith("The network gives the answer to nothing at all")
            return
        size, confidence, n, rho = said.groups()
        assert means(size, float(explanation.mask.double().mean()))
        with torch.no_grad():
            alone = float(ADForward(model)(x, mask=explanation.mask).softmax(1)[0, target])
        assert float(confidence) == pytest.approx(alone, abs=0.005 + 1e-9)
        assert int(n) == len(robustness.class_kept)
        assert means(rho, float(robustness.class_kept.double().mean()))
        assert found.facts["size"] == explanation.size

    def test_what_was_not_found_has_no_numbers(self):
        lost = SimpleNamespace(found=False, size=math.nan, confidence=math.nan)
        found = describe(torch.ones(3, 3), lost, SimpleNamespace(rho=math.nan, n=5))
        assert found.sentences[0] == "No part of the image alone keeps the answer."
        assert not {"size", "rho"} & set(found.facts)
        with pytest.raises(ValueError, match="robustness is given without its explanation"):
            describe(torch.ones(3, 3), robustness=SimpleNamespace(rho=1.0, n=5))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (1, "“dog”"),
        (Class(0), "“cat”"),
        (7, "class 7"),
        (Contrast(0, 1), "“cat” rather than “dog”"),
        (Group([0, 2]), "“cat” or “cow”"),
        (Contrast(Group([0, 1, 2, 5]), 3), "one of 4 classes rather than class 3"),
        (Region(2), repr(Region(2))),
    ],
)
def test_names(target, words):
    found = describe(torch.eye(9) * torch.eye(9)[0], target=target, names=["cat", "dog", "cow"])
    assert str(found) == f"100% of what speaks for {words} lies in the upper left, 11% of the image."


def test_percent_never_rounds_to_nothing_or_all():
    found = [percent(share) for share in (0, 0.0049, 0.006, 0.994, 0.996, 1)]
    assert found == ["0%", "under 1%", "1%", "99%", "over 99%", "100%"]
