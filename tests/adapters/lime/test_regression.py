"""lime on networks that return one number: a regression, a single logit."""

import numpy as np
import pytest
import torch
from torch import nn

from captum_ad import ADForward, BaselineForward

pytest.importorskip("lime")
pytest.importorskip("torchvision")
from lime import lime_image
from torchvision import transforms

from captum_ad.adapters.lime import LimeImageExplainer, MaskedClassifier

CELLS = np.arange(24)[:, None] // 8 * 4 + np.arange(32)[None] // 8


class Age(nn.Module):
    """About 45, more with brightness at the left."""

    def __init__(self, flat):
        super().__init__()
        self.conv, self.flat = nn.Conv2d(3, 1, 1), flat
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        age = 45 + self.conv(x)[..., :16].mean((2, 3))
        return age[:, 0] if self.flat else age


@pytest.fixture
def photograph():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def explained(classifier, photograph, kind=LimeImageExplainer, **options):
    options = {"segmentation_fn": lambda image: CELLS, "num_samples": 60, "top_labels": 1, **options}
    return kind(random_state=0).explain_instance(photograph, classifier, **options)


@pytest.mark.parametrize("flat", [False, True])
def test_a_regression_is_explained_as_lime_does(photograph, flat):
    classifier = MaskedClassifier(BaselineForward(Age(flat).eval(), 0.0), transforms.ToTensor(), to_confidence="none")

    def painted(images):
        with torch.no_grad():
            return Age(False)(torch.stack([transforms.ToTensor()(image) for image in images])).numpy()

    ours = dict(explained(classifier, photograph).local_exp[0])
    limes = dict(explained(painted, photograph, lime_image.LimeImageExplainer, hide_color=0).local_exp[0])
    assert ours == pytest.approx(limes, abs=1e-4)


@pytest.mark.parametrize("flat", [False, True])
def test_what_is_missing_matters_where_the_network_looks(photograph, flat):
    classifier = MaskedClassifier(ADForward(Age(flat).eval(), "paper"), transforms.ToTensor(), to_confidence="none")
    masks = np.stack([CELLS >= 0, CELLS != 3, CELLS != 0])
    whole, right, left = classifier(np.broadcast_to(photograph, (3, 24, 32, 3)), masks)[:, 0]
    assert whole == pytest.approx(right)
    assert left < whole - 0.1


def test_a_label_that_one_number_does_not_have_is_named(photograph):
    classifier = MaskedClassifier(ADForward(Age(False).eval()), transforms.ToTensor(), to_confidence="sigmoid")
    with pytest.raises(ValueError, match=r"labels=\(1,\), but the classifier returned 1 columns.*top_labels=1"):
        explained(classifier, photograph, top_labels=None)
    assert 0 in explained(classifier, photograph, top_labels=None, labels=(0,)).local_exp
