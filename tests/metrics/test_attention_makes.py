"""Attention of Hugging Face's, torchvision's and timm's networks, of random weights: the mechanics."""

from __future__ import annotations

import pytest
import torch
from captum.attr import FeatureAblation, Occlusion
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import attention_correlation, attention_maps


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


MASKINGS = [
    ADForward,
    *(lambda model, name=name, **more: BaselineForward(model, name, **more) for name in ("avg", "blur")),
]


WHISPER = {"layers": 2, "attention_heads": 2, "ffn_dim": 32}
ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


@pytest.mark.parametrize("make", MASKINGS, ids=["ad", "avg", "blur"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_speech_to_text(make, implementation):
    """Whisper: a token's cross-attention against what hiding frames of the spectrogram takes from it."""
    transformers = pytest.importorskip("transformers")
    settings = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in WHISPER.items()}
    config = transformers.WhisperConfig(
        **settings,
        vocab_size=60,
        num_mel_bins=8,
        d_model=16,
        max_source_positions=20,
        max_target_positions=10,
        **IDS,
    )
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    model.set_attn_implementation(implementation)
    x, said = noise(0, (1, 8, 40)), torch.tensor([[1, 5, 7]])
    attentions = attention_maps(model, x, decoder_input_ids=said)
    crossing = {name: weights for name, weights in attentions.items() if name.endswith("encoder_attn")}
    model.set_attn_implementation("eager")
    returned = model(x, decoder_input_ids=said, output_attentions=True).cross_attentions
    assert len(crossing) == len(returned) == 2
    for weights, expected in zip(crossing.values(), returned):
        assert torch.allclose(weights, expected, atol=1e-6)
    model.set_attn_implementation(implementation)
    forward = make(model, select=lambda out: out.logits[:, -1])
    frames = (torch.arange(40) // 4).expand(1, 1, 40)
    attribution = FeatureAblation(forward).attribute(
        x, target=9, feature_mask=frames, additional_forward_args=(None, said)
    )
    found = attention_correlation(crossing, attribution, query=-1)
    assert found.heads.shape == (2, 2)
    assert found.heads.isfinite().all()
    with pytest.raises(ValueError, match="choose layers that attend to the same positions"):
        attention_correlation(attentions, attribution)


def test_vision_encoder_decoder():
    transformers = pytest.importorskip("transformers")
    sees = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=5, **ENCODER)
    speaks = transformers.TrOCRConfig(
        vocab_size=30, d_model=16, max_position_embeddings=16, cross_attention_hidden_size=16, is_decoder=True,
        add_cross_attention=True, **{f"decoder_{name}": value for name, value in WHISPER.items()}, **IDS,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(sees, speaks)
    torch.manual_seed(0)
    model, x, said = transformers.VisionEncoderDecoderModel(config).eval(), noise(0, (1, 3, 32, 32)), [[1, 5, 7]]
    attentions = attention_maps(model, x, decoder_input_ids=torch.tensor(said))
    crossing = {name: weights for name, weights in attentions.items() if "encoder_attn" in name}
    assert [tuple(weights.shape) for weights in crossing.values()] == [(1, 2, 3, 17)] * 2
    ad = ADForward(model, select=lambda out: out.logits[:, -1])
    attribution = Occlusion(ad).attribute(
        x, target=9, sliding_window_shapes=(3, 8, 8), strides=(3, 8, 8), additional_forward_args=torch.tensor(said)
    )
    assert attention_correlation(crossing, attribution, query=-1).heads.isfinite().all()


@pytest.mark.parametrize("make", MASKINGS, ids=["ad", "avg", "blur"])
def test_torchvision(make):
    vit = pytest.importorskip("torchvision.models").VisionTransformer
    torch.manual_seed(0)
    model = vit(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16).eval()
    nn.init.normal_(model.heads.head.weight)  # it begins with zeros
    window = {"sliding_window_shapes": (3, 8, 8), "strides": (3, 8, 8)}
    x = noise(0, (1, 3, 32, 32))
    attribution = Occlusion(make(model)).attribute(x, target=2, **window)
    found = attention_correlation(attention_maps(model, x), attribution, query=0)
    assert found.heads.shape == (2, 2)
    assert found.heads.isfinite().all()


@pytest.mark.parametrize("fused", [True, False])
def test_timm(fused, monkeypatch):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2).eval()
    for block in model.blocks:
        monkeypatch.setattr(block.attn, "fused_attn", fused)
    found = attention_maps(model, noise(0, (1, 3, 32, 32)))
    assert {name: tuple(weights.shape) for name, weights in found.items()} == {
        f"blocks.{i}.attn": (1, 2, 17, 17) for i in range(2)
    }
