"""Vision models of Hugging Face's transformers: small ones from configurations of our own, with each attention.

Opt-in: ``pip install ".[test-architectures]"``, then ``pytest tests/architectures/test_transformers.py -m slow`` (ten
minutes). ``--table tutorials/networks.md`` puts the results into the table of networks; ``-k NAME`` runs one network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.architectures.checks import Network, check, each
from tests.architectures.table import Row

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

Settings = dict[str, Any] | Callable[[], dict[str, Any]]

BOTH = ("eager", "sdpa")
"""The attentions of a model that follows the library's interface; others have their own, or none."""

# fmt: off
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 64,
       "patch_size": 16}
BEIT = {**VIT, "use_relative_position_bias": True}
DINO = {**VIT, "mlp_ratio": 2}
MAE = {**VIT, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
       "decoder_intermediate_size": 32}
SAM = {"hidden_size": 32, "output_channels": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_dim": 64,
       "image_size": 64, "patch_size": 8, "window_size": 3, "global_attn_indexes": [1, 3], "num_pos_feats": 16}
SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
PYRAMID = {"image_size": 64, "hidden_sizes": [16, 32, 40, 48], "num_attention_heads": [1, 2, 5, 8],
           "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}
CONV = {"embedding_size": 16, "hidden_sizes": [16, 32, 48], "depths": [2, 2, 2]}
STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}
DETR = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 7}
QUERIES = {"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_attention_heads": 4,
           "encoder_layers": 1, "decoder_layers": 2, "encoder_feedforward_dim": 64, "dim_feedforward": 64,
           "num_queries": 7}
NECK = {"reassemble_factors": [2, 1], "neck_hidden_sizes": [8, 16], "fusion_hidden_size": 16}
VJEPA = {"crop_size": 64, "frames_per_clip": 4, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
         "pred_hidden_size": 16, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "pred_num_mask_tokens": 2}
# fmt: on


def on_resnet() -> dict[str, Any]:
    """DETR's settings, on three stages of a small ResNet."""
    stages = ["stage1", "stage2", "stage3"]
    return {**DETR, "backbone_config": transformers.ResNetConfig(**CONV, layer_type="basic", out_features=stages)}


def on_swin(**settings: Any) -> dict[str, Any]:
    """Settings of a network on four stages of a small Swin."""
    small = {**SWIN, "depths": [1, 1, 1, 1], "num_heads": [2, 2, 4, 4], "window_size": 2}
    stages = ["stage1", "stage2", "stage3", "stage4"]
    return {**settings, "backbone_config": transformers.SwinConfig(**small, out_features=stages)}


def on_dino() -> dict[str, Any]:
    """Depth Anything's settings."""
    backbone = transformers.Dinov2Config(**DINO, out_features=["stage1", "stage2"], reshape_hidden_states=False)
    return {**NECK, "patch_size": 16, "reassemble_hidden_size": 32, "backbone_config": backbone}


def on_vitpose() -> dict[str, Any]:
    sizes = {**VIT, "image_size": [64, 64], "patch_size": [16, 16], "mlp_ratio": 2}
    return {"backbone_config": transformers.VitPoseBackboneConfig(**sizes, out_indices=[2]), "num_labels": 5}


class Video(nn.Module):
    """A model that takes frames before channels, fed with (N, C, T, H, W)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x.transpose(1, 2))


class Autoencoder(nn.Module):
    """A masked autoencoder that drops the same patches at every call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        noise = torch.rand(1, 16, generator=torch.Generator().manual_seed(0))
        return self.model(x, noise=noise.expand(len(x), -1))


def build(model: str, config: str, settings: Settings, attention: str, around: Callable[[nn.Module], nn.Module]) -> Any:
    """An untrained model, with weights that are not as small as the library's."""
    given = settings() if callable(settings) else settings
    made = getattr(transformers, model)(getattr(transformers, config)(**given))
    if attention == "eager":  # "sdpa" is what it has otherwise
        made.set_attn_implementation(attention)
    assert attention not in BOTH or made.config._attn_implementation == attention
    for module in made.modules():  # 0.02 everywhere would leave almost nothing of an image
        for p in module.parameters(recurse=False):
            if p.dim() > 1:
                nn.init.normal_(p, std=1.4 / p[0].numel() ** 0.5)
            elif p is module._parameters.get("weight"):  # of a norm
                nn.init.uniform_(p, 0.5, 1.5)
    return around(made)


def network(
    model: str,
    settings: Settings,
    ways: tuple[str, ...] = ("",),
    size: tuple[int, ...] = (64, 64),
    exact: bool = False,
    config: str | None = None,
    around: Callable[[nn.Module], nn.Module] = lambda model: model,
    **more: Any,
) -> list[Network]:
    """The rows of a model: one for each way to write its attention."""
    config = config or re.sub(r"(Model|For[A-Z].*)$", "Config", model)
    return [
        Network(
            f"{model}, {way}" if way else model,
            "transformers",
            partial(build, model, config, settings, way, around),
            size,
            exact=exact,
            slow=True,
            **more,
        )
        for way in ways
    ]


def cnn(model: str, settings: Settings, **more: Any) -> list[Network]:
    return network(model, settings, exact=True, **more)


def pick(key: str) -> Callable[[Any], Tensor]:
    return lambda output: output[key]


HIDDEN, POOLED, DEPTH, CLASSES = map(
    pick, "last_hidden_state pooler_output predicted_depth class_queries_logits".split()
)

# fmt: off
NETWORKS = [
    # transformers over patches
    *network("ViTForImageClassification", VIT, BOTH),
    *network("ViTModel", VIT, BOTH, select=POOLED),
    *network("DeiTForImageClassificationWithTeacher", VIT, BOTH),
    *network("BeitForImageClassification", BEIT, BOTH),
    *network("Data2VecVisionForImageClassification", {**VIT, "use_shared_relative_position_bias": True}),
    *network("Dinov2ForImageClassification", DINO, BOTH),
    *network("Dinov2WithRegistersForImageClassification", {**DINO, "num_register_tokens": 3}, BOTH),
    *network("DINOv3ViTModel", {**VIT, "num_register_tokens": 3}, BOTH, select=POOLED),
    *network("IJepaForImageClassification", VIT, BOTH),
    *network("ViTMAEModel", VIT, BOTH, around=Autoencoder, select=HIDDEN),
    *network("ViTMAEForPreTraining", MAE, BOTH, around=Autoencoder),
    *network("ViTMSNForImageClassification", VIT, BOTH),
    *network("HieraForImageClassification", {"embed_dim": 16, "image_size": [64, 64], "depths": [1, 2, 2, 1],
                                             "num_heads": [1, 2, 2, 4]}),
    *network("CLIPVisionModelWithProjection", {**VIT, "projection_dim": 16}, BOTH, config="CLIPVisionConfig",
             select=pick("image_embeds")),
    *network("SiglipVisionModel", VIT, BOTH, select=POOLED),
    *network("Aimv2VisionModel", VIT, BOTH, select=POOLED),
    *network("BlipVisionModel", VIT, select=POOLED),
    *network("SamVisionModel", SAM, BOTH, select=HIDDEN),
    *network("VitDetModel", {**VIT, "window_size": 2, "window_block_indices": [0], "num_channels": 3,
                             "use_relative_position_embeddings": True}, select=HIDDEN),
    *network("YolosForObjectDetection", {**VIT, "image_size": [64, 64], "num_detection_tokens": 7}, BOTH),
    # over windows, and pyramids
    *network("SwinForImageClassification", SWIN, BOTH),
    *network("Swinv2ForImageClassification", SWIN),
    *network("Swin2SRForImageSuperResolution", {**SWIN, "patch_size": 1, "window_size": 8, "image_size": 16},
             size=(16, 16), select=pick("reconstruction")),
    *network("PvtForImageClassification", PYRAMID),
    *network("PvtV2ForImageClassification", PYRAMID),
    *network("CvtForImageClassification", {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]}),
    *network("SegformerForSemanticSegmentation", PYRAMID, BOTH),
    *network("SegformerForImageClassification", PYRAMID, BOTH),
    *network("GLPNForDepthEstimation", PYRAMID, select=DEPTH),
    # attention in a CNN
    *network("LevitForImageClassification", {"image_size": 64, "hidden_sizes": [16, 32, 48], "key_dim": [8, 8, 8],
                                             "num_attention_heads": [2, 2, 4], "depths": [1, 1, 1]}),
    *network("MobileViTForImageClassification", {"image_size": 64, "hidden_sizes": [16, 32, 48],
                                                 "neck_hidden_sizes": [8, 16, 16, 24, 24, 32, 40]}),
    *network("MobileViTV2ForImageClassification", {"image_size": 64}),
    *network("SwiftFormerForImageClassification", {"depths": [1, 1, 2, 1], "embed_dims": [16, 24, 32, 48]}),
    # CNNs
    *cnn("ResNetForImageClassification", CONV),
    *cnn("RegNetForImageClassification", {**CONV, "groups_width": 8}),
    *cnn("BitForImageClassification", {**CONV, "num_groups": 4}),
    *cnn("ConvNextForImageClassification", STAGES),
    *cnn("ConvNextV2ForImageClassification", STAGES),
    *cnn("DINOv3ConvNextModel", STAGES, select=POOLED),
    *cnn("MobileNetV1ForImageClassification", {"depth_multiplier": 0.25}),
    *cnn("MobileNetV2ForImageClassification", {"depth_multiplier": 0.35}),
    *cnn("EfficientNetForImageClassification", {"width_coefficient": 0.25, "depth_coefficient": 0.25,
                                                "hidden_dim": 320}),
    *cnn("PoolFormerForImageClassification", STAGES),
    *cnn("FocalNetForImageClassification", {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 2, 1]}),
    *cnn("HGNetV2ForImageClassification", {}),
    *cnn("TextNetForImageClassification", {}),
    # maps, masks and boxes
    *network("DPTForDepthEstimation", {**VIT, **NECK, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3],
                                       "neck_hidden_sizes": [8, 16, 24, 32],
                                       "reassemble_factors": [4, 2, 1, 0.5]}, BOTH, select=DEPTH),
    *network("DepthAnythingForDepthEstimation", on_dino, select=DEPTH),
    *network("BeitForSemanticSegmentation", {**BEIT, "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4],
                                             "use_auxiliary_head": False, "pool_scales": [1, 2]}, BOTH),
    *network("UperNetForSemanticSegmentation", lambda: on_swin(hidden_size=16, pool_scales=[1, 2])),
    *network("MaskFormerForInstanceSegmentation", lambda: on_swin(
        decoder_config=transformers.DetrConfig(**on_resnet()), fpn_feature_size=32, mask_feature_size=32),
        select=CLASSES),
    *network("Mask2FormerForUniversalSegmentation", lambda: on_swin(**QUERIES), select=CLASSES),
    *network("DetrForObjectDetection", on_resnet),
    *network("ConditionalDetrForObjectDetection", on_resnet),
    *network("DeformableDetrForObjectDetection", lambda: {**on_resnet(), "num_feature_levels": 3}),
    *network("TableTransformerForObjectDetection", on_resnet),
    *network("VitPoseForPoseEstimation", on_vitpose, select=pick("heatmaps")),
    # video
    *network("VideoMAEForVideoClassification", {**VIT, "num_frames": 4}, BOTH, (4, 64, 64), around=Video),
    *network("VivitForVideoClassification", {**VIT, "num_frames": 4, "tubelet_size": [2, 16, 16]}, BOTH,
             (4, 64, 64), around=Video),
    *network("TimesformerForVideoClassification", {**VIT, "num_frames": 4}, size=(4, 64, 64), around=Video),
    *network("VJEPA2Model", VJEPA, BOTH, (4, 64, 64), around=Video, select=HIDDEN),
]
# fmt: on


@each(NETWORKS)
def test_network(network: Network, found: Callable[[str, str], Row]) -> None:
    check(network, found)
