"""Everyday use cases, one line each: the attribution must lie where the network looks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion, Saliency, ShapleyValues, ShapleyValueSampling
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import CausalResponsibility, RegionOcclusion, Rise
from captum_ad.metrics import SolidColors, compare, insertion_curve, rho_robustness, sufficient_explanation
from captum_ad.segmentation import superpixels
from captum_ad.targets import (
    Binary,
    Class,
    Contrast,
    Group,
    MultiLabel,
    Reconstruction,
    Region,
    Regression,
    Similarity,
)
from captum_ad.testing import check_model
from tests.use import networks as net

X = torch.zeros(1, 3, 16, 16)
X[..., :8, :8] = 1.0  # the corner that counts
BYTES = (X * 255).to(torch.uint8)
BATCH = torch.cat([X, X * 0.8])
SERIES, WAVE, VOLUME = torch.ones(1, 2, 32), torch.ones(1, 32), torch.ones(1, 1, 8, 8, 8)
CELLS = ((torch.arange(16) // 8)[:, None] * 2 + torch.arange(16) // 8)[None, None]
WINDOW = {"sliding_window_shapes": (3, 8, 8), "strides": (3, 8, 8)}
INDEX = {"target": 0, "feature_mask": CELLS}
MASK = {"feature_mask": CELLS}
TABLE, TABLE_CELLS = torch.ones(1, 4), torch.arange(4)[None] + 4


def classifier(model: nn.Module) -> Any:
    """The classifier function that lime and shap expect, from photographs to outputs."""
    from captum_ad.adapters.lime import MaskedClassifier

    return MaskedClassifier(ADForward(model), lambda i: torch.tensor(np.array(i)).permute(2, 0, 1) / 255, mask_transform=lambda m: m)  # fmt: skip


def lime(**options: Any) -> Tensor:
    from captum_ad.adapters.lime import LimeImageExplainer

    asked = classifier(net.Looks())
    asked.to_confidence = options.pop("to_confidence", "softmax")
    found = LimeImageExplainer(random_state=0).explain_instance(
        BYTES[0].permute(1, 2, 0).numpy(), asked, labels=(0,), top_labels=None, num_samples=60,
        segmentation_fn=lambda _: CELLS[0, 0].numpy(), progress_bar=False,
    )  # fmt: skip
    weights = dict(found.local_exp[0])
    return torch.tensor([weights[i] for i in range(4)])[CELLS]


def shapley() -> Tensor:
    import shap

    from captum_ad.adapters.shap import ImageMasker

    image = BYTES[0].permute(1, 2, 0).numpy()
    explainer = shap.Explainer(classifier(net.Looks()), ImageMasker(image.shape, CELLS[0, 0].numpy()))
    return torch.tensor(explainer(image[None], max_evals=64, silent=True).values[..., 0, 0])[None]


def detector() -> Tensor:
    from tests.targets.test_detection import RED, colors

    red = torch.zeros(1, 3, 64, 64)
    red[0, 0, 24:32, 24:32] = 1
    return Occlusion(ADForward(colors(), target=RED)).attribute(red, sliding_window_shapes=(3, 8, 8), strides=(3, 8, 8))


def study() -> Tensor:
    records = compare(
        net.OneNumber(), {"a": X}, ["occlusion"], ["ad:paper", "avg"], window=8, target=Binary(), show_progress=False,
        backgrounds={"K1": SolidColors(n=2)},
    )  # fmt: skip
    assert records.found.all()
    return torch.tensor(records.confidence.dropna().to_numpy())


def by_timm() -> Tensor:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    ad = ADForward(timm.create_model("resnet10t", num_classes=3, pretrained=False).eval())
    return FeatureAblation(ad).attribute(
        torch.rand(1, 3, 64, 64), target=0, feature_mask=superpixels(torch.rand(64, 64))
    )


def by_transformers() -> Tensor:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(image_size=16, patch_size=4, num_labels=3, **sizes)
    return FeatureAblation(ADForward(transformers.ViTForImageClassification(config).eval())).attribute(X, **INDEX)


def by_torchvision() -> Tensor:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2
    )
    ad = ADForward(model.eval(), target=Region(0, (2, 2)))
    return FeatureAblation(ad).attribute(torch.rand(1, 3, 32, 32), feature_mask=CELLS.repeat_interleave(2, 2).repeat_interleave(2, 3))  # fmt: skip


def ad(model: nn.Module, **options: Any) -> ADForward:
    return ADForward(model, **options)


def asked(model: nn.Module, target: Any, **options: Any) -> Tensor:
    """Feature ablation with the target in the forward."""
    return FeatureAblation(ADForward(model, target=target)).attribute(options.pop("x", X), **{**MASK, **options})


SITUATIONS: dict[str, Callable[[], Any]] = {
    "Occlusion": lambda: Occlusion(ad(net.Looks())).attribute(X, target=0, **WINDOW),
    "FeatureAblation": lambda: FeatureAblation(ad(net.Looks())).attribute(X, **INDEX),
    "ShapleyValueSampling": lambda: ShapleyValueSampling(ad(net.Looks())).attribute(X, n_samples=3, **INDEX),
    "ShapleyValues": lambda: ShapleyValues(ad(net.Looks())).attribute(X, **INDEX),
    "KernelShap": lambda: KernelShap(ad(net.Looks())).attribute(X, n_samples=40, **INDEX),
    "Lime": lambda: Lime(ad(net.Looks())).attribute(X, n_samples=40, **INDEX),
    "gradient methods": lambda: Saliency(ad(net.Looks())).attribute(X.clone().requires_grad_(), target=0),
    "CausalResponsibility": lambda: CausalResponsibility(ad(net.Looks())).attribute(X, target=0, min_region=16),
    "Rise": lambda: Rise(ad(net.Looks(), target=Class(0))).attribute(X, n_samples=200, grid=2),
    "Occlusion in a region": lambda: RegionOcclusion(ad(net.Looks())).attribute(X, CELLS[0, 0] < 2, (3, 8, 8), 8, target=0),
    "a baseline by name": lambda: FeatureAblation(BaselineForward(net.Looks(), "zero")).attribute(X, **INDEX),
    "a target for each sample": lambda: FeatureAblation(ad(net.Looks())).attribute(BATCH, target=[0, 0], feature_mask=CELLS),
    "several windows per forward": lambda: Occlusion(ad(net.Looks())).attribute(BATCH, target=0, perturbations_per_eval=3, **WINDOW),
    "superpixels of the input": lambda: FeatureAblation(ad(net.Looks(), rule="paper")).attribute(X, target=0, feature_mask=superpixels(X, n_segments=16)),
    "double precision": lambda: FeatureAblation(ad(net.Looks().double())).attribute(X.double(), **INDEX),
    "uint8, preprocessed inside": lambda: FeatureAblation(ad(net.Preprocesses())).attribute(BYTES, **INDEX),
    "a class by its name": lambda: asked(net.Looks(), Class("cat", names=["cat", "dog", "car"])),
    "one class rather than another": lambda: asked(net.Looks(), Contrast(0, 2)),
    "any class of a group": lambda: asked(net.Looks(), Group([0, 1])),
    "a group rather than a class": lambda: asked(net.Looks(), Contrast(Group([0, 1]), 2)),
    "one logit, (N, 1)": lambda: asked(net.Looks(1), Binary()),
    "one logit, (N,)": lambda: asked(net.OneNumber(), Binary()),
    "one logit, the other class": lambda: asked(net.OneNumber(-9.0), Binary(positive=0)),
    "two logits": lambda: asked(net.Looks(2), Binary(positive=0)),
    "multiple labels": lambda: asked(net.Looks(22), MultiLabel(0, threshold=0.9)),
    "regression": lambda: asked(net.OneNumber(45.0), Regression(tolerance=1.0)),
    "a segment that the network found": lambda: asked(net.Segments(), Region(1)),
    "a segment in a box": lambda: asked(net.Segments(), Region(1, (0, 0, 4, 4))),
    "a segment at a point": lambda: asked(net.Segments(), Region(1, (3, 3))),
    "an object": detector,
    "a match": lambda: asked(net.Embeds(), Similarity.to(net.Embeds().eval(), X)),
    "an anomaly": lambda: asked(net.Copies(), Reconstruction("mse")),
    "a named output": lambda: asked(net.HuggingFace(), Class(0)),
    "pixel_values= as a keyword": lambda: ad(net.HuggingFace(), target=Class(0))(pixel_values=X, mask=CELLS[0, 0] == 0),
    "an output in a tuple": lambda: FeatureAblation(ad(net.Several(), select=0)).attribute(X, **INDEX),
    "a LightningModule": lambda: FeatureAblation(ad(net.Lightning())).attribute(X, **INDEX),
    "a time series": lambda: Occlusion(ad(net.Looks(channels=2), rule="paper")).attribute(SERIES, target=0, sliding_window_shapes=(2, 8), strides=(2, 8)),
    "a waveform": lambda: Occlusion(ad(net.Waveform(), rule="paper")).attribute(WAVE, target=0, sliding_window_shapes=(8,), strides=(8,)),
    "time steps of an LSTM": lambda: FeatureAblation(ad(net.Sequence())).attribute(torch.ones(1, 8, 4), target=0, feature_mask=(torch.arange(8) // 4)[None, :, None]),
    "a volume": lambda: FeatureAblation(ad(net.Looks(channels=1))).attribute(VOLUME, target=0, feature_mask=superpixels(VOLUME, "grid", 8)),
    "two images": lambda: FeatureAblation(ad(net.Pair())).attribute((X, X), target=0, feature_mask=(CELLS, CELLS + 4))[1],
    "an image and a table": lambda: FeatureAblation(ad(net.ImageAndTable())).attribute((X, TABLE), target=0, feature_mask=(CELLS, TABLE_CELLS))[0],
    "additional_forward_args": lambda: FeatureAblation(ad(net.ImageAndTable())).attribute(X, additional_forward_args=(TABLE, 0.5), **INDEX),
    "a sufficient explanation": lambda: sufficient_explanation(ad(net.Looks()), X, X, 0, feature_mask=CELLS).mask[None, None].float(),
    "a sufficient explanation of two inputs": lambda: sufficient_explanation(ad(net.Pair()), (X, X), (X, X), 0, feature_mask=(CELLS, CELLS)).mask[0][None].float(),
    "the robustness of an explanation": lambda: rho_robustness(net.OneNumber(), X, CELLS[0, 0] == 0, Binary(), SolidColors(n=4)).class_kept.float(),
    "an insertion curve": lambda: insertion_curve(ad(net.Looks(1), target=Binary()), X, X, feature_mask=CELLS).values,
    "comparing maskings on one logit": study,
    "lime": lime,
    "lime for regression": lambda: lime(to_confidence="none"),
    "shap": shapley,
    "timm": by_timm,
    "Hugging Face": by_transformers,
    "torchvision segmentation": by_torchvision,
    "check_model on your own network": lambda: torch.tensor([float(bool(check_model(net.ImageAndTable(), (X, TABLE, 0.5), masks=1, verbose=False)))]),
}  # fmt: skip
"""Each returns an attribution. If it has the shape of an input, its positive part must lie in the corner."""

RANDOM = {"timm", "Hugging Face", "torchvision segmentation", "time steps of an LSTM", "an object"}
"""Networks that look elsewhere, or for which we do not know where they look."""
TURNED = {"one logit, the other class"}
"""Here the corner is evidence against the answer, so the sign of the attribution is flipped."""
NEEDED = {"lime": "lime", "lime for regression": "lime", "shap": "shap"}
"""Packages that a use case needs; without them it is skipped."""


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name: str) -> None:
    pytest.importorskip(NEEDED.get(name, "captum_ad"))
    found = SITUATIONS[name]().detach()
    assert found.isfinite().all()
    assert found.any()
    spatial = found.shape[1:] if found.shape == WAVE.shape else found.shape[2:]
    if name not in RANDOM and len(spatial) > 0 and found.dim() > 1:
        corner = torch.ones(spatial, dtype=torch.bool)
        for dim, size in enumerate(spatial):
            corner &= (torch.arange(size) < size // 2).reshape(-1, *(1,) * (len(spatial) - 1 - dim))
        each = found.reshape(len(found), -1, *spatial).sum(1) * (-1 if name in TURNED else 1)
        assert (each[:, corner].mean(1) > 1.1 * each[:, ~corner].abs().mean(1)).all()
        assert (each[:, corner].amax(1) >= each.flatten(1).amax(1)).all()


def test_there_are_at_least_forty() -> None:
    assert len(SITUATIONS) >= 40
