"""A small member of every family of timm.

Opt-in: ``pip install ".[test-timm]"``, then ``pytest tests/architectures/test_timm.py -m slow`` (a quarter of an hour).
``--table tutorials/networks.md`` puts the results into the table of networks; ``-k NAME`` runs one network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import nn

from tests.architectures.checks import Network, check, each
from tests.architectures.table import Row

timm = pytest.importorskip("timm")
pytestmark = pytest.mark.slow

CONVOLUTIONAL = (
    # ResNets and their kin
    "test_resnet resnet26t resnetaa34d resnetblur18 resnet50_gn resnetrs50 resnext50_32x4d seresnet18 "
    "ecaresnet26t senet154 legacy_seresnet18 legacy_seresnext26_32x4d skresnet18 resnest14d resnest50d_1s4x24d "
    "res2net50_26w_4s res2net50d res2next50 resnetv2_18 resnetv2_50d_evos resnetv2_50d_frn resnetv2_50d_gn "
    "resnetv2_50x1_bit tresnet_m tresnet_v2_l nf_regnet_b0 nf_resnet26 nf_seresnet26 nf_ecaresnet26 eca_nfnet_l0 "
    "nfnet_l0 dm_nfnet_f0 test_nfnet vgg11 densenet121 densenetblur121d rdnet_tiny dla34 dla46x_c dla60_res2net "
    "dla60_res2next dpn48b dpn68 regnetx_002 regnety_002 regnety_040_sgn regnetz_005 regnetv_040 hrnet_w18_small "
    "hrnet_w18_ssld selecsls42 "
    # made of blocks that are chosen by name
    "test_byobnet eca_resnet33ts gernet_s mobileone_s0 regnetz_b16 regnetz_b16_evos repvgg_a0 repvgg_d2se "
    "resnet51q resnet50_clip_gap resnet50_mlp resnext26ts seresnext26ts "
    # cross-stage partial, one-shot aggregation
    "cs3darknet_focus_s cs3darknet_s cs3edgenet_x cs3sedarknet_l cspdarknet53 cspresnet50 cspresnext50 darknet17 "
    "darknetaa53 sedarknet21 cspnext_tiny hgnet_tiny hgnetv2_b0 ese_vovnet19b_slim_dw eca_vovnet39b "
    "ese_vovnet39b_evos "
    # mobile
    "efficientnet_b0 efficientnet_b0_gn efficientnet_b0_g16_evos efficientnet_blur_b0 efficientnet_cc_b0_4e "
    "efficientnet_es efficientnet_lite0 efficientnet_h_b5 efficientnet_x_b3 efficientnetv2_rw_t fbnetc_100 "
    "mixnet_s mnasnet_small mobilenet_edgetpu_v2_xs mobilenetv1_100 mobilenetv2_035 semnasnet_050 spnasnet_100 "
    "test_efficientnet test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln tf_efficientnet_b0 "
    "tf_efficientnet_cc_b0_4e tf_efficientnet_lite0 tf_efficientnetv2_b0 tf_mixnet_s tinynet_e lcnet_035 "
    "fbnetv3_b mobilenetv3_small_050 mobilenetv3_rw mobilenetv4_conv_small_035 mobilenetv4_conv_aa_medium "
    "mobilenetv4_conv_blur_medium tf_mobilenetv3_small_075 tf_mobilenetv3_small_minimal_100 ghostnet_050 "
    "ghostnetv2_100 ghostnetv3_050 repghostnet_050 hardcorenas_a lcnetv2_small rexnet_100 rexnetr_100 "
    "fasternet_t0 fastvit_t8 repvit_m0_9 starnet_s050 "
    # Inception, Xception, searched cells
    "inception_v3 inception_v4 inception_resnet_v2 inception_next_atto legacy_xception xception41 xception41p "
    "nasnetalarge pnasnet5large "
    # after ConvNeXt and MetaFormer
    "convmixer_768_32 convnext_atto convnext_atto_ols convnext_tiny_hnf convnext_zepto_rms convnextv2_atto "
    "test_convnext test_convnext2 test_convnext3 mambaout_femto test_mambaout poolformer_s12 poolformerv2_s12 "
    "convformer_s18 focalnet_tiny_srf focalnet_tiny_lrf"
).split()

ATTENTION = (
    # attention over maps, inside a CNN
    "bat_resnext26ts gcresnet33ts gc_efficientnetv2_rw_t botnet26t_256 sebotnet33ts_256 eca_halonext26ts "
    "halonet26t haloregnetz_b lambda_resnet26t lambda_resnet26rpt_256 resnet50_clip cpubone_nano csatv2 "
    "mobilenetv4_hybrid_medium_075 mobilenetv5_300m "
    # any size of input
    "test_vit test_vit2 test_vit4 crossvit_tiny_240 crossvit_9_dagger_240 davit_tiny edgenext_xx_small "
    "efficientvim_m1 efficientvit_b0 efficientvit_l1 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb fastvit_sa12 "
    "fastvit_mci0 hieradet_small sam2_hiera_tiny iformer_t lowformer_b0 caformer_s18 mobilevit_xxs "
    "mobilevitv2_050 mvitv2_tiny mvitv2_small_cls naflexvit_base_patch16_gap naflexvit_base_patch16_map "
    "nextvit_small pvt_v2_b0 pvt_v2_b2_li sequencer2d_s shvit_s1 swiftformer_xs tiny_vit_5m_224 twins_pcpvt_small "
    "twins_svt_small samvit_base_patch16_224 xcit_nano_12_p16_224 qwen3_vit_88m gemma4_vit_167m"
).split()

SIZED = (  # built for one size of input, which is theirs to say
    "test_vit3 test_vit_relpos vit_tiny_patch16_224 deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 "
    "deit3_small_patch16_224 beit_base_patch16_224 beit3_base_patch16_224 cait_xxs24_224 coat_tiny coat_lite_tiny "
    "convit_tiny efficientformerv2_s0 eva02_tiny_patch14_224 vit_small_patch16_rope_224 "
    "vit_small_patch16_rope_mixed_224 vit_pe_core_tiny_patch16_384 gcvit_xxtiny hiera_tiny_224 levit_128s "
    "levit_conv_128s test_coatnet test_maxvit coatnet_nano_rw_224 coatnet_rmlp_nano_rw_224 maxvit_pico_rw_256 "
    "maxxvit_rmlp_nano_rw_256 gmixer_12_224 gmlp_ti16_224 mixer_s32_224 resmlp_12_224 nest_tiny pit_ti_224 "
    "pit_ti_distilled_224 swin_tiny_patch4_window7_224 swin_s3_tiny_224 swinv2_tiny_window8_256 "
    "swinv2_cr_tiny_224 tnt_s_patch16_224 visformer_tiny vit_base_patch16_rpn_224 vit_base_patch16_siglip_224 "
    "vit_so150m_patch16_reg4_map_256 vit_small_resnet26d_224 vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 "
    "vit_srelpos_small_patch16_224 vitamin_small_224 volo_d1_224 vit_small_patch14_dinov2 vit_base_mci_224 "
    "vit_dwee_patch16_reg1_gap_256"
).split()

SIZES = {  # where 64 (96 for what is convolutional) does not do
    "efficientformer_l1": 224, "botnet26t_256": 256, "sebotnet33ts_256": 256, "eca_halonext26ts": 256,
    "halonet26t": 256, "haloregnetz_b": 224, "lambda_resnet26rpt_256": 256, "bat_resnext26ts": 256, "csatv2": 512,
    "resnet50_clip": 224, "mobilenetv5_300m": 128,
}  # fmt: skip

UNTESTED = {"deepseek_vit"}  # modules whose smallest member has 400 million parameters

REFUSED = {"csatv2": (r"matmul|Tensor\.norm", "its attention multiplies (N, T) by (T, N), which mixes the samples")}
"""Networks through which no mask can be followed: a pattern of the error, and why."""


def build(name: str, **options: Any) -> nn.Module:
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def network(name: str, size: int, exact: bool = False, **options: Any) -> Network:
    size = SIZES.get(name, size)
    refused = REFUSED.get(name)
    return Network(name, "timm", partial(build, name, **options), (size, size), exact=exact, refused=refused, slow=True)


NETWORKS = [
    *(network(name, 96, exact=True) for name in CONVOLUTIONAL),
    *(network(name, 64) for name in [*ATTENTION, "efficientformer_l1"]),
    *(network(name, 64, img_size=64) for name in SIZED),
]


@each(NETWORKS)
def test_network(network: Network, found: Callable[[str, str], Row]) -> None:
    check(network, found)


def test_no_family_is_forgotten() -> None:
    tested = {network.name for network in NETWORKS}
    forgotten = {module for module in timm.list_modules() if not tested & set(timm.list_models(module=module))}
    assert forgotten == UNTESTED & set(timm.list_modules()), "add a small network of each to this file"
