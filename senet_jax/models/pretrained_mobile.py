"""Published weights of mobile networks: MobileNet, EfficientNet and those that were searched for.

The tags and inputs are those of timm 1.0.31 (its `pretrained_cfg`s).
"""

from senet_jax.models.inputs import BICUBIC, BILINEAR, Input, Pretrained, tags

IN12K, IN21K, IN21K_P = 11821, 21843, 11221  # classes of ImageNet-12k, -21k and its cleaned form

SMALL_TEST = Input(224, 0.875, "bicubic", 256, 0.95).halved()
RA4 = Input(224, 0.9, "bicubic", 256, 1.0).halved()
FBNET = Input(224, 0.95, "bilinear", 256)
MIIL = BILINEAR._replace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
V2_S = Input(300, 1.0, "bicubic", 384).halved()
V2_M = Input(384, 1.0, "bicubic", 480, crop_mode="squash").halved()
V2_XL = V2_M._replace(test_size=512)


def _tf(size: int, crop: float, *names: str) -> dict[str, Pretrained]:
    """Google's EfficientNets: adversarial training ("ap") took values from -1 to 1."""
    images = Input(size, crop, "bicubic")
    inputs = {name: images.halved() if name == "ap_in1k" else images for name in names}
    return tags(**inputs)


# by name and tag; a name's first tag is its default, as in timm
PRETRAINED: dict[str, dict[str, Pretrained]] = {
    "efficientnet_b0": tags(ra_in1k=BICUBIC, ra4_e3600_r224_in1k=RA4),
    "efficientnet_b1": tags(
        ra4_e3600_r240_in1k=Input(240, 0.9, "bicubic", 288, 1.0).halved(),
        ft_in1k=Input(224, 0.875, "bicubic", 256, 1.0),
    ),
    "efficientnet_b2": tags(ra_in1k=Input(256, 0.875, "bicubic", 288, 1.0)),
    "efficientnet_b3": tags(ra2_in1k=Input(288, 0.875, "bicubic", 320, 1.0)),
    "efficientnet_b4": tags(ra2_in1k=Input(320, 0.875, "bicubic", 384, 1.0)),
    "efficientnet_b5": {
        **tags(sw_in12k_ft_in1k=Input(448, 1.0, "bicubic", crop_mode="squash")),
        **tags(IN12K, sw_in12k=Input(416, 0.95, "bicubic")),
    },
    "tf_efficientnet_b0": _tf(224, 0.875, "ns_jft_in1k", "ap_in1k", "aa_in1k", "in1k"),
    "tf_efficientnet_b1": _tf(240, 0.882, "ns_jft_in1k", "ap_in1k", "aa_in1k", "in1k"),
    "tf_efficientnet_b2": _tf(260, 0.89, "ns_jft_in1k", "ap_in1k", "aa_in1k", "in1k"),
    "tf_efficientnet_b3": _tf(300, 0.904, "ns_jft_in1k", "ap_in1k", "aa_in1k", "in1k"),
    "tf_efficientnet_b4": _tf(380, 0.922, "ns_jft_in1k", "ap_in1k", "aa_in1k", "in1k"),
    "tf_efficientnet_b5": _tf(456, 0.934, "ns_jft_in1k", "ap_in1k", "ra_in1k", "aa_in1k", "in1k"),
    "tf_efficientnet_b6": _tf(528, 0.942, "ns_jft_in1k", "ap_in1k", "aa_in1k"),
    "tf_efficientnet_b7": _tf(600, 0.949, "ns_jft_in1k", "ap_in1k", "ra_in1k", "aa_in1k"),
    "tf_efficientnet_b8": _tf(672, 0.954, "ap_in1k", "ra_in1k"),
    "efficientnetv2_rw_t": tags(ra2_in1k=Input(224, 1.0, "bicubic", 288)),
    "efficientnetv2_rw_s": tags(ra2_in1k=Input(288, 1.0, "bicubic", 384)),
    "efficientnetv2_rw_m": tags(agc_in1k=Input(320, 1.0, "bicubic", 416)),
    "tf_efficientnetv2_b0": tags(in1k=Input(192, 0.875, "bicubic", 224)),
    "tf_efficientnetv2_b1": tags(in1k=Input(192, 0.882, "bicubic", 240)),
    "tf_efficientnetv2_b2": tags(in1k=Input(208, 0.89, "bicubic", 260)),
    "tf_efficientnetv2_b3": {
        **tags(in21k_ft_in1k=Input(240, 0.9, "bicubic", 300, crop_mode="squash").halved()),
        **tags(in1k=Input(240, 0.904, "bicubic", 300)),
        **tags(IN21K, in21k=Input(240, 0.904, "bicubic", 300).halved()),
    },
    "tf_efficientnetv2_s": tags(in21k_ft_in1k=V2_S, in1k=V2_S) | tags(IN21K, in21k=V2_S),
    "tf_efficientnetv2_m": tags(in21k_ft_in1k=V2_M, in1k=V2_M) | tags(IN21K, in21k=V2_M),
    "tf_efficientnetv2_l": tags(in21k_ft_in1k=V2_M, in1k=V2_M) | tags(IN21K, in21k=V2_M),
    "tf_efficientnetv2_xl": tags(in21k_ft_in1k=V2_XL) | tags(IN21K, in21k=V2_XL),
    "tinynet_a": tags(in1k=Input(192, 0.875, "bicubic")),
    "tinynet_b": tags(in1k=Input(188, 0.875, "bicubic")),
    "tinynet_c": tags(in1k=Input(184, 0.875, "bicubic")),
    "tinynet_d": tags(in1k=Input(152, 0.875, "bicubic")),
    "tinynet_e": tags(in1k=Input(106, 0.875, "bicubic")),
    "semnasnet_075": tags(rmsp_in1k=BICUBIC),
    "semnasnet_100": tags(rmsp_in1k=BICUBIC),
    **{f"hardcorenas_{size}": tags(miil_green_in1k=BILINEAR) for size in "abcdef"},
    "lcnet_050": tags(ra2_in1k=BICUBIC),
    "lcnet_075": tags(ra2_in1k=BICUBIC),
    "lcnet_100": tags(ra2_in1k=BICUBIC),
    "fbnetv3_b": tags(ra2_in1k=FBNET),
    "fbnetv3_d": tags(ra2_in1k=FBNET),
    "fbnetv3_g": tags(ra2_in1k=FBNET._replace(size=240, test_size=288)),
    "mobilenetv1_100": tags(ra4_e3600_r224_in1k=SMALL_TEST),
    "mobilenetv1_100h": tags(ra4_e3600_r224_in1k=SMALL_TEST),
    "mobilenetv1_125": tags(ra4_e3600_r224_in1k=RA4),
    "mobilenetv3_large_100": {
        **tags(ra_in1k=BICUBIC, ra4_e3600_r224_in1k=RA4._replace(crop=0.95)),
        **tags(miil_in21k_ft_in1k=MIIL),
        **tags(IN21K_P, miil_in21k=MIIL),
    },
    "mobilenetv3_rw": tags(rmsp_in1k=BICUBIC),
    "mobilenetv3_small_050": tags(lamb_in1k=BICUBIC),
    "mobilenetv3_small_075": tags(lamb_in1k=BICUBIC),
    "mobilenetv3_small_100": tags(lamb_in1k=BICUBIC),
    "tf_mobilenetv3_large_075": tags(in1k=BILINEAR.halved()),
    "tf_mobilenetv3_large_100": tags(in1k=BILINEAR.halved()),
    "tf_mobilenetv3_large_minimal_100": tags(in1k=BILINEAR.halved()),
    "tf_mobilenetv3_small_075": tags(in1k=BILINEAR.halved()),
    "tf_mobilenetv3_small_100": tags(in1k=BILINEAR.halved()),
    "tf_mobilenetv3_small_minimal_100": tags(in1k=BILINEAR.halved()),
}
