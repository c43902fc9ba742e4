"""Detections: D-RISE's score by hand, a detector whose answers are known, and torchvision's own under AD."""

from types import SimpleNamespace

import pytest
import torch
from captum.attr import KernelShap, Occlusion
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import Rise
from captum_ad.metrics import sufficient_explanation
from captum_ad.targets import Detection
from captum_ad.targets.base import Given
from captum_ad.testing import check_model

detection = pytest.importorskip("torchvision.models.detection")


class TestByHand:
    def test_the_best_of_overlap_times_likeness_times_objectness(self) -> None:
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 4]])
        found = {"boxes": boxes, "labels": torch.tensor([1, 1, 2]), "scores": torch.tensor([0.3, 0.9, 1.0])}
        nothing = {name: values[:0] for name, values in found.items()}
        target = Detection((0, 0, 4, 4), "cat", names=["no", "cat", "dog"], overlap=0.4, least=0.8)
        readout = target.readout([found, nothing], Given(()))
        torch.testing.assert_close(target.score(readout), torch.tensor([0.45, 0.0]))  # .3 × 1, .9 × .5, 1 × 1 × 0
        assert target.kept(readout).tolist() == [True, False]
        assert not Detection((0, 0, 4, 4), 1, overlap=0.6).kept(
            target.readout([found], Given(()))
        )  # too little of either

    def test_queries(self) -> None:
        """Of probabilities .2 and .6 the cosine with the second class is .6 / √.4, and .8 is some object."""
        logits = torch.tensor([[[0.2, 0.6, 0.2], [0.0, 0.0, 1.0]]]).clamp(min=1e-9).log()
        boxes = torch.tensor([[[0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 1.0, 1.0]]])
        output = SimpleNamespace(logits=logits, pred_boxes=boxes)
        target, given = Detection((0, 5, 20, 15), 1), Given((torch.zeros(1, 3, 20, 20),))
        score = target.score(target.readout(output, given))
        torch.testing.assert_close(score, torch.tensor([0.8 * 0.6 / 0.4**0.5]))
        by_sigmoid = Detection((0, 5, 20, 15), 1, to_confidence="sigmoid")
        output.logits = torch.tensor([[[0.3, 0.4], [1e-9, 1e-9]]]).logit()
        torch.testing.assert_close(by_sigmoid.score(by_sigmoid.readout(output, given)), torch.tensor([0.4 * 0.8]))

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="with a positive, finite area"):
            Detection((4, 0, 4, 4), 1)
        with pytest.raises(ValueError, match="with a positive, finite area"):
            Detection((0, 0, float("inf"), 4), 1)
        with pytest.raises(ValueError, match="label must be a class"):
            Detection((0, 0, 4, 4), -1)
        with pytest.raises(TypeError, match="boxes, labels and scores"):
            Detection((0, 0, 4, 4), 1).readout(torch.zeros(1, 4), Given(()))
        output = SimpleNamespace(logits=torch.zeros(1, 2, 3), pred_boxes=torch.zeros(1, 2, 4))
        with pytest.raises(ValueError, match="classes 0 to 1"):
            Detection((0, 0, 4, 4), 2).readout(output, Given((torch.zeros(1, 3, 4, 4),)))
        for name, given, right in (("RTDetr", "softmax", "sigmoid"), ("Yolos", "sigmoid", "softmax")):
            kind = type(f"{name}ObjectDetectionOutput", (SimpleNamespace,), {})
            target = Detection((0, 0, 4, 4), 1, to_confidence=given)
            with pytest.raises(ValueError, match=f"to_confidence='{right}'"):
                target.readout(kind(**vars(output)), Given((torch.zeros(1, 3, 4, 4),)))


class Colors(nn.Module):
    """Class 1 is red and class 2 blue; boxes are the anchors."""

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        red, _, blue = (features[0].flatten(2).permute(0, 2, 1) * 10 - 5).unbind(2)
        logits = torch.stack([torch.full_like(red, -20), red, blue], 2)
        return {"cls_logits": logits, "bbox_regression": logits.new_zeros(*red.shape, 4)}


class Backbone(nn.AvgPool2d):
    out_channels = 3


def colors() -> nn.Module:
    """A RetinaNet that finds red and blue squares of 16 × 16 pixels."""
    anchors = detection.anchor_utils.AnchorGenerator(sizes=((16,),), aspect_ratios=((1.0,),))
    plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "min_size": 64, "max_size": 64, "score_thresh": 0.0}
    return detection.RetinaNet(Backbone(8), 3, anchor_generator=anchors, head=Colors(), **plain).eval()


@pytest.fixture
def squares() -> Tensor:
    x = torch.zeros(1, 3, 64, 64)
    x[0, 0, 24:32, 24:32] = 1  # what the anchor around (24, 24) sees
    x[0, 2, 40:48, 40:48] = 1
    return x


RED = Detection((16, 16, 32, 32), 1)


@pytest.mark.parametrize("make", [ADForward, lambda model, target: BaselineForward(model, "zero", target=target)])
def test_a_detector_whose_answer_is_known(make, squares: Tensor) -> None:
    forward = make(colors(), target=RED)
    torch.testing.assert_close(forward(squares), torch.tensor([5.0]).sigmoid())
    a = Occlusion(forward).attribute(squares, sliding_window_shapes=(3, 8, 8), strides=(3, 8, 8))
    expected = torch.zeros(1, 3, 64, 64)
    expected[..., 24:32, 24:32] = torch.tensor(5.0).sigmoid() - torch.tensor(-5.0).sigmoid()
    torch.testing.assert_close(a, expected)
    cells = (torch.arange(64) // 8)[:, None] * 8 + torch.arange(64) // 8
    assert torch.equal(sufficient_explanation(forward, squares, a, feature_mask=cells).mask, cells == 3 * 8 + 3)
    blue = make(colors(), target=Detection((32, 32, 48, 48), 2))
    assert Occlusion(blue).attribute(squares, sliding_window_shapes=(3, 8, 8), strides=(3, 8, 8))[0, 0, 42, 42] > 0.9


@pytest.mark.parametrize(
    ("target", "finds"),
    [
        (Detection((16, 16, 32, 32), 7), r"classes \[0, 1, 2\]|classes \[1, 2\]"),
        (Detection((200, 200, 300, 300), 1), "classes"),
    ],
)
def test_an_object_that_is_not_found_is_refused_and_not_explained_by_zeros(target, finds, squares: Tensor) -> None:
    ad = ADForward(colors(), target=target)
    windows = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 32, 32)}
    with pytest.raises(ValueError, match=rf"finds no object of class {target.label}.*{finds}"):
        Occlusion(ad).attribute(squares, **windows)
    with pytest.raises(ValueError, match="finds no object"):
        Rise(ad).attribute(squares, n_samples=2, grid=2)
    with pytest.raises(ValueError, match="finds no object"):
        sufficient_explanation(ad, squares, torch.rand(1, 3, 64, 64), step=1024)


def test_a_batch_is_checked_sample_by_sample(squares: Tensor) -> None:
    batch, windows = torch.cat([squares, squares * 0]), {"sliding_window_shapes": (3, 32, 32), "strides": (3, 32, 32)}
    Occlusion(ADForward(colors(), target=RED)).attribute(batch[:1], **windows)
    network = colors()
    network.score_thresh = 0.05
    with pytest.raises(ValueError, match=r"finds no object of class 1 .* in sample 1"):
        Occlusion(ADForward(network, target=RED)).attribute(batch, **windows)


def test_an_index_on_a_detector_names_the_target_to_take(squares: Tensor) -> None:
    windows = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 32, 32)}
    with pytest.raises(TypeError, match=r"targets.Detection\(box, label\)"):
        Occlusion(ADForward(colors())).attribute(squares, target=1, **windows)


def test_a_detector_is_checked_with_its_target(squares: Tensor) -> None:
    with pytest.raises(TypeError, match=r"targets.Detection\(box, label\)"):
        check_model(colors(), squares)
    report = check_model(ADForward(colors(), target=RED), squares.repeat(2, 1, 1, 1), verbose=False)
    assert report, str(report)


def test_drise_and_kernelshap_find_the_object(squares: Tensor) -> None:
    ad = ADForward(colors(), target=RED)
    drise = Rise(ad).attribute(squares, n_samples=300, grid=8, perturbations_per_eval=50)
    row, column = divmod(int(drise[0, 0].argmax()), 64)
    assert 22 <= row < 34
    assert 22 <= column < 34
    cells = (torch.arange(64) // 16)[:, None] * 4 + torch.arange(64) // 16
    shap = KernelShap(ad).attribute(squares, feature_mask=cells.expand(1, 1, 64, 64), n_samples=60)
    assert int(cells.flatten()[shap[0, 0].argmax()]) == 5  # the cell of row and column 16 to 31


SMALL = {
    "min_size": 64,
    "max_size": 64,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 5,
    "rpn_post_nms_top_n_test": 50,
}
ONE_STAGE = {"min_size": 64, "max_size": 64, "score_thresh": 0.0}


def backbone(**options) -> nn.Module:
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, **options)


DETECTORS = {
    "faster_rcnn": lambda: detection.FasterRCNN(backbone(), 4, **SMALL),
    "keypoint_rcnn": lambda: detection.KeypointRCNN(
        backbone(), 2, num_keypoints=3, **{**SMALL, "box_detections_per_img": 1}
    ),
    "retinanet": lambda: detection.RetinaNet(
        backbone(returned_layers=[2, 3, 4]), 4, anchor_generator=_anchors(4), **ONE_STAGE
    ),
    "fcos": lambda: detection.FCOS(
        backbone(returned_layers=[2, 3, 4]), 4, anchor_generator=_anchors(4, 1), **ONE_STAGE
    ),
    "ssdlite": lambda: detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=0.0
    ),
}


def _anchors(levels: int, each: int = 3) -> nn.Module:
    sizes = tuple(tuple(float(2 ** (3 + level) + k) for k in range(each)) for level in range(levels))
    return detection.anchor_utils.AnchorGenerator(sizes, ((1.0,),) * levels)


def detector(name: str) -> nn.Module:
    """Random weights, under which features neither vanish nor explode: their statistics are measured once."""
    torch.manual_seed(1)
    model = DETECTORS[name]()
    norms = [module for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    model.backbone.train()(torch.randn(4, 3, 64, 64))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "name", [n if n in ("faster_rcnn", "fcos") else pytest.param(n, marks=pytest.mark.slow) for n in DETECTORS]
)
def test_torchvisions_detectors(name: str) -> None:
    model, x = detector(name), torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(4))
    best = model(x)[0]
    largest = int(((best["boxes"][:, 2:] - best["boxes"][:, :2]).prod(1) * best["scores"]).argmax())
    target = Detection(best["boxes"][largest], best["labels"][largest], least=0.0)
    left = torch.arange(64).expand(48, 64) < 32
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for rule in ("no-growth-mean", "paper"):
        ad = ADForward(model, rule, target=target)
        whole, part = ad(x), ad(x, mask=left)
        assert torch.equal(whole, target.score(target.readout(model(x), Given((x,)))))
        assert torch.equal(ad(x, mask=torch.ones_like(left)), whole)
        assert not torch.equal(part, whole)
        for junk in (torch.nan, 1e30):
            assert torch.equal(ad(x.where(left, torch.tensor(junk)), mask=left), part)
        both = ad(x.expand(2, -1, -1, -1), mask=torch.stack([left, ~left]))
        torch.testing.assert_close(both, torch.cat([part, ad(x, mask=~left)]), rtol=1e-3, atol=1e-4)
        assert ad(x, mask=torch.zeros_like(left)).isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert "forward" not in vars(model.transform)


def test_transformers_detector_is_followed_to_its_end() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    layers = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 32))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 4, "num_labels": 3}
    config = transformers.DetrConfig(use_timm_backbone=False, backbone_config=backbone, d_model=16, **layers, **heads)
    model, x = transformers.DetrForObjectDetection(config).eval(), torch.rand(1, 3, 64, 64)
    left = torch.arange(64).expand(64, 64) < 32
    ad = ADForward(model, target=Detection((0, 0, 64, 64), 1))
    with torch.no_grad():
        assert torch.equal(ad(pixel_values=x), ad(x))
        assert not torch.equal(ad(x, mask=left), ad(x))
        assert torch.equal(ad(pixel_values=x.where(left, torch.nan)), ad(x, mask=left))
