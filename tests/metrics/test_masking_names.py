"""Names of maskings and numbers, as tables and files have them."""

import itertools
from typing import get_args, get_type_hints

import pytest

from captum_ad import PRESETS, MaskRule, UnknownNameError
from captum_ad.metrics import recommend_rule
from captum_ad.metrics.masking_names import all_maskings, masking_name, named_masking
from captum_ad.metrics.recommendation_text import number
from captum_ad.painted import MASKING_VALUES
from tests.metrics.recommendation import BRIGHT, ignorant


class TestNames:
    @pytest.mark.parametrize(
        "knobs", list(itertools.product(*(get_args(values) for values in get_type_hints(MaskRule).values())))
    )
    def test_a_rule_has_a_name_that_means_it(self, knobs):
        rule = MaskRule(*knobs)
        named = named_masking(masking_name(rule))
        assert (PRESETS[named.removeprefix("ad:")] if isinstance(named, str) else named) == rule

    def test_everything_has_a_name(self):
        assert all_maskings() == [*(f"ad:{preset}" for preset in PRESETS), *MASKING_VALUES]
        for name in all_maskings():
            assert named_masking(name) == name

    def test_a_rule_that_is_a_preset_is_called_so(self):
        found = recommend_rule(ignorant(), BRIGHT[:1], maskings=["ad:growth=none", "ad:no-growth", MaskRule()])
        assert list(found.maskings) == ["ad:no-growth", "ad:paper"]

    @pytest.mark.parametrize("name", ["ad:growht=none", "ad:growth=sideways", "ad:=none"])
    def test_unknown_knobs_and_values(self, name):
        with pytest.raises(UnknownNameError):
            named_masking(name)

    @pytest.mark.parametrize("name", ["ad:growth=", "ad:growth=none,growth=none", "ad:growth=none,sum"])
    def test_badly_written(self, name):
        with pytest.raises(ValueError, match="each knob once, as KNOB=VALUE"):
            named_masking(name)

    def test_numbers(self):
        assert [number(v) for v in (0.5, 1, 0, -0.001, 0.996)] == [".50", "1.00", ".00", ".00", "1.00"]
        assert [number(v, signed=True) for v in (0.5, -0.25, 0, -1)] == ["+.50", "−.25", ".00", "−1.00"]
