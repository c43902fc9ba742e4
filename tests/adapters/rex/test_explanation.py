"""The explanations that ReX finds: of a network whose answer is known, and of the demo network."""

import pytest
import torch
from PIL import Image

pytest.importorskip("rex_xai")

from rex_xai.explanation.rex import explanation
from rex_xai.utils._utils import Strategy

from captum_ad import ADForward, BaselineForward
from tests.adapters.rex.models import PATCH, SIDE, to_tensor
from tests.adapters.rex.runs import arguments, explained


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("rule", ["paper", "no-growth-mean"])
def test_an_explanation_is_the_part_that_keeps_the_class(patch_network, picture, batch_size, rule):
    ad = ADForward(patch_network, rule)
    found = explained(picture, ad, batch_size=batch_size)
    mask, best = found.sufficiency_mask, found.target_map == found.target_map.max()
    assert mask.shape == (3, SIDE, SIDE)
    assert (mask == mask[0]).all()
    assert mask[0][PATCH].sum() >= 8  # half of the patch, below which it is class 0
    assert mask[0].sum() <= 64
    assert best[PATCH].any()
    x = to_tensor(Image.open(picture))[None]
    with torch.no_grad():
        confidence = ad(x, mask=mask[0]).softmax(1)[0, 1]
    assert found.sufficiency_confidence == pytest.approx(float(confidence))
    assert (found.data.target.classification, confidence > 0.5) == (1, True)


def test_batches_change_nothing_and_seeds_repeat(network, picture):
    maps = [explained(picture, ADForward(network), batch_size=b, iters=2).target_map for b in (1, 1, 5)]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


def test_a_baseline_of_zero_finds_what_ad_finds_where_missing_is_zero(patch_network, picture):
    ad, zero = (explained(picture, f(patch_network)) for f in (ADForward, lambda m: BaselineForward(m, "zero")))
    assert torch.equal(ad.target_map, zero.target_map)
    assert torch.equal(ad.sufficiency_mask, zero.sufficiency_mask)


def test_confidence_asked_for(patch_network, picture):
    small, large = (explained(picture, ADForward(patch_network), minimum_confidence_threshold=g) for g in (0.0, 0.99))
    assert large.sufficiency_mask.sum() > small.sufficiency_mask.sum()
    assert large.sufficiency_confidence >= 0.99 * large.data.target.confidence - 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": Strategy.Spatial},
        {"strategy": Strategy.Contrastive},
        {"strategy": Strategy.Contrastive, "complete": True},
        {"strategy": Strategy.MultiSpotlight, "spotlights": 3},
    ],
    ids=["spatial", "contrastive", "complete", "multi"],
)
@pytest.mark.parametrize("masking", [ADForward, lambda model: BaselineForward(model, "avg")], ids=["AD", "avg"])
def test_every_strategy(patch_network, picture, tmp_path, settings, masking):
    found = explained(
        picture,
        masking(patch_network),
        batch_size=8,
        output=str(tmp_path / "x.png"),
        spatial_initial_radius=3,
        **settings,
    )
    assert list(tmp_path.iterdir())
    masks = getattr(found, "explanations", None) or [found.sufficiency_mask]
    assert masks[0][0][PATCH].any()
    if settings["strategy"] == Strategy.Contrastive:
        assert found.necessity_mask[0][PATCH].sum() >= 8


@pytest.mark.parametrize("masking", [ADForward, lambda model: BaselineForward(model, "min")], ids=["AD", "min"])
def test_rex_analyzes_its_explanation(patch_network, picture, capsys, masking):
    explained(picture, masking(patch_network), analyse="print", batch_size=8, insertion_step=7)
    printed = capsys.readouterr().out
    assert "robustness" in printed
    assert "nan" not in printed


def test_the_demo_network_sees_a_cat(tmp_path):
    from skimage.data import chelsea

    from captum_ad.demo import efficientnet_lite0

    model, transform = efficientnet_lite0()
    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    ad = ADForward(model, "no-growth")
    args = arguments(tmp_path / "cat.png", ad, transform, iters=1, tree_depth=2, batch_size=14, chunk_size=2500)
    found = explanation(args, torch.device("cpu"))
    with torch.no_grad():
        x = transform(Image.fromarray(chelsea()))[None]
        target = int(model(x).argmax())
        alone = ad(x, mask=found.sufficiency_mask[0]).softmax(1)[0]
    assert (found.data.target.classification, int(alone.argmax())) == (target, target)
    assert found.sufficiency_confidence == pytest.approx(float(alone[target]), rel=1e-3)
    assert 0 < found.sufficiency_mask.float().mean() < 1
    assert found.target_map.shape == (224, 224)
    assert len(found.target_map.unique()) > 4
