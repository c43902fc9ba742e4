"""Names of maskings and numbers, as tables and files have them."""

import torch

from captum_ad import PRESETS, ADForward, MaskRule
from captum_ad._forwards.baseline_forward import MASKING_VALUES
from captum_ad.metrics import recommend_rule
from captum_ad.metrics.masking_names import DEFAULT, all_maskings, masking_name, named_masking
from captum_ad.metrics.recommendation_text import number
from tests.metrics.recommendation import BRIGHT, ignorant


class TestNames:
    def test_everything_has_a_name(self):
        assert all_maskings() == [*(f"ad:{preset}" for preset in PRESETS), *MASKING_VALUES]
        for name in all_maskings():
            masking = named_masking(name)
            assert (masking_name(masking) if isinstance(masking, MaskRule) else masking) == name

    def test_the_default_is_that_of_an_adforward(self):
        assert masking_name(ADForward(torch.nn.Identity()).rule) == DEFAULT

    def test_a_rule_that_is_a_preset_is_called_so(self):
        found = recommend_rule(
            ignorant(), BRIGHT[:1], maskings=["ad:growth=none,average=active", "ad:no-growth", MaskRule()]
        )
        assert list(found.maskings) == ["ad:no-growth", "ad:paper"]

    def test_numbers(self):
        assert [number(v) for v in (0.5, 1, 0, -0.001, 0.996)] == [".50", "1.00", ".00", ".00", "1.00"]
        assert [number(v, signed=True) for v in (0.5, -0.25, 0, -1)] == ["+.50", "−.25", ".00", "−1.00"]
