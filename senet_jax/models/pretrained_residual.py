"""Published weights of residual networks.

The tags and inputs are those of timm 1.0.31 (its `pretrained_cfg`s); the accuracies are from its
results/results-imagenet.csv (ImageNet-1k validation), where plain networks have one at their test
size alone.
"""

from senet_jax.models.inputs import BICUBIC, BILINEAR, HALF, Input, Pretrained

LARGER_TEST = Input(224, 0.875, "bicubic", 288, 0.95)
RA2_256 = Input(256, 0.95, "bicubic", 320, 1.0)
RSB = Input(224, 0.95, "bicubic", 288, 1.0)  # "ResNet strikes back", arXiv 2110.00476
RSB_SHORT = Input(160, 0.95, "bicubic", 224, 0.95)  # its procedure A3
TORCHVISION_2 = Input(176, 0.875, "bilinear", 224, 0.965)

PRETRAINED: dict[str, dict[str, Pretrained]] = {
    "senet154": {
        "gluon_in1k": Pretrained(BICUBIC, top1=81.258),
    },
    "seresnet152d": {
        "ra2_in1k": Pretrained(RA2_256, top1=83.702, test_top1=84.344),
    },
    "seresnet50": {
        "a1_in1k": Pretrained(RSB, top1=80.012, test_top1=81.114),
        "a2_in1k": Pretrained(RSB, top1=80.102, test_top1=81.094),
        "a3_in1k": Pretrained(RSB_SHORT, top1=75.104, test_top1=77.036),
        "ra2_in1k": Pretrained(LARGER_TEST, top1=80.26, test_top1=81.288),
    },
    "seresnext101_32x4d": {
        "gluon_in1k": Pretrained(BICUBIC, top1=80.886),
    },
    "seresnext101_32x8d": {
        "ah_in1k": Pretrained(RSB, top1=83.618, test_top1=84.192),
    },
    "seresnext101_64x4d": {
        "gluon_in1k": Pretrained(BICUBIC, top1=80.884),
    },
    "seresnext101d_32x8d": {
        "ah_in1k": Pretrained(RSB, top1=83.702, test_top1=84.38),
    },
    "seresnext26d_32x4d": {
        "bt_in1k": Pretrained(LARGER_TEST, top1=77.592, test_top1=78.816),
    },
    "seresnext26t_32x4d": {
        "bt_in1k": Pretrained(LARGER_TEST, top1=77.98, test_top1=78.736),
    },
    "seresnext50_32x4d": {
        "racm_in1k": Pretrained(LARGER_TEST, top1=81.268, test_top1=82.186),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.916),
    },
    "seresnextaa101d_32x8d": {
        "sw_in12k_ft_in1k_288": Pretrained(
            Input(288, 0.95, "bicubic", 320, 1.0), top1=86.53, test_top1=86.722
        ),
        "ah_in1k": Pretrained(RSB, top1=83.9, test_top1=84.58),
        "sw_in12k": Pretrained(RSB, num_classes=11821),
        "sw_in12k_ft_in1k": Pretrained(
            Input(224, 0.875, "bicubic", 288, 1.0), top1=85.956, test_top1=86.524
        ),
    },
    "seresnextaa201d_32x8d": {
        "sw_in12k_ft_in1k_384": Pretrained(Input(384, 1.0, "bicubic"), top1=87.304),
        "sw_in12k": Pretrained(Input(320, 0.95, "bicubic", 384, 1.0), num_classes=11821),
    },
    "legacy_senet154": {
        "in1k": Pretrained(BILINEAR, top1=81.32),
    },
    "legacy_seresnet101": {
        "in1k": Pretrained(BILINEAR, top1=78.37),
    },
    "legacy_seresnet152": {
        "in1k": Pretrained(BILINEAR, top1=78.662),
    },
    "legacy_seresnet18": {
        "in1k": Pretrained(BICUBIC, top1=71.742),
    },
    "legacy_seresnet34": {
        "in1k": Pretrained(BILINEAR, top1=74.788),
    },
    "legacy_seresnet50": {
        "in1k": Pretrained(BILINEAR, top1=77.65),
    },
    "legacy_seresnext101_32x4d": {
        "in1k": Pretrained(BILINEAR, top1=80.274),
    },
    "legacy_seresnext26_32x4d": {
        "in1k": Pretrained(BICUBIC, top1=77.1),
    },
    "legacy_seresnext50_32x4d": {
        "in1k": Pretrained(BILINEAR, top1=79.08),
    },
    "resnet101": {
        "a1h_in1k": Pretrained(RSB, test_top1=82.778),
        "a1_in1k": Pretrained(RSB, test_top1=82.322),
        "a2_in1k": Pretrained(RSB, test_top1=82.236),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=79.814),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.31),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=81.89),
        "tv_in1k": Pretrained(BILINEAR, top1=77.376),
    },
    "resnet152": {
        "a1h_in1k": Pretrained(RSB, test_top1=83.45),
        "a1_in1k": Pretrained(RSB, test_top1=82.732),
        "a2_in1k": Pretrained(RSB, test_top1=82.608),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=80.546),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.694),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=82.288),
        "tv_in1k": Pretrained(BILINEAR, top1=78.322),
    },
    "resnet152d": {
        "ra2_in1k": Pretrained(RA2_256, test_top1=83.684),
        "gluon_in1k": Pretrained(BICUBIC, top1=80.476),
    },
    "resnet18": {
        "a1_in1k": Pretrained(RSB, test_top1=73.158),
        "a2_in1k": Pretrained(RSB, test_top1=72.372),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=68.254),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=72.594),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=73.282),
        "gluon_in1k": Pretrained(BICUBIC, top1=70.838),
        "tv_in1k": Pretrained(BILINEAR, top1=69.76),
    },
    "resnet200d": {
        "ra2_in1k": Pretrained(RA2_256, test_top1=83.964),
    },
    "resnet34": {
        "a1_in1k": Pretrained(RSB, test_top1=77.918),
        "a2_in1k": Pretrained(RSB, test_top1=77.158),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=72.97),
        "bt_in1k": Pretrained(LARGER_TEST, test_top1=76.48),
        "gluon_in1k": Pretrained(BICUBIC, top1=74.578),
        "ra4_e3600_r224_in1k": Pretrained(
            Input(224, 0.9, "bicubic", 288, 1.0, mean=HALF, std=HALF)
        ),
        "tv_in1k": Pretrained(BILINEAR),
    },
    "resnet50": {
        "a1_in1k": Pretrained(RSB, test_top1=81.214),
        "a1h_in1k": Pretrained(Input(176, 0.9, "bicubic", 224, 1.0), test_top1=80.676),
        "a2_in1k": Pretrained(RSB, test_top1=80.772),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=78.048),
        "am_in1k": Pretrained(BICUBIC, top1=78.998),
        "b1k_in1k": Pretrained(RSB, test_top1=80.706),
        "b2k_in1k": Pretrained(RSB, test_top1=80.454),
        "bamboo": Pretrained(Input(224, 1.0, "bicubic"), num_classes=0),
        "bt_in1k": Pretrained(LARGER_TEST, test_top1=79.64),
        "c1_in1k": Pretrained(RSB, test_top1=80.912),
        "c2_in1k": Pretrained(RSB, test_top1=80.87),
        "d_in1k": Pretrained(RSB, test_top1=80.972),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=79.234),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=81.182),
        "gluon_in1k": Pretrained(BICUBIC, top1=77.58),
        "ra_in1k": Pretrained(LARGER_TEST, test_top1=79.836),
        "ram_in1k": Pretrained(LARGER_TEST, test_top1=79.976),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=80.85),
        "tv_in1k": Pretrained(BILINEAR, top1=76.13),
    },
    "resnetaa50d": {
        "sw_in12k_ft_in1k": Pretrained(RSB, test_top1=82.6),
        "d_in12k": Pretrained(RSB, num_classes=11821),
        "sw_in12k": Pretrained(RSB, num_classes=11821),
    },
    "resnetrs101": {
        "tf_in1k": Pretrained(Input(192, 0.94, "bicubic", 288), test_top1=82.284),
    },
    "resnetrs152": {
        "tf_in1k": Pretrained(Input(256, 1.0, "bicubic", 320), test_top1=83.702),
    },
    "resnetrs200": {
        "tf_in1k": Pretrained(Input(256, 1.0, "bicubic", 320), test_top1=84.444),
    },
    "resnetrs270": {
        "tf_in1k": Pretrained(Input(256, 1.0, "bicubic", 352), test_top1=84.428),
    },
    "resnetrs350": {
        "tf_in1k": Pretrained(Input(288, 1.0, "bicubic", 384), test_top1=84.714),
    },
    "resnetrs420": {
        "tf_in1k": Pretrained(Input(320, 1.0, "bicubic", 416), test_top1=85.006),
    },
    "resnetrs50": {
        "tf_in1k": Pretrained(Input(160, 0.91, "bicubic", 224), test_top1=79.896),
    },
    "resnext101_32x4d": {
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=80.924),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=83.232),
        "gluon_in1k": Pretrained(BICUBIC, top1=80.34),
    },
    "resnext101_32x8d": {
        "tv_in1k": Pretrained(BILINEAR, top1=79.31),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=81.606),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=84.302),
        "fb_wsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=82.698),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=82.832),
    },
    "resnext101_64x4d": {
        "c1_in1k": Pretrained(RSB, test_top1=83.156),
        "gluon_in1k": Pretrained(BICUBIC, top1=80.6),
        "tv_in1k": Pretrained(BILINEAR, top1=82.992),
    },
    "resnext50_32x4d": {
        "a1h_in1k": Pretrained(RSB, test_top1=82.014),
        "a1_in1k": Pretrained(RSB, test_top1=81.466),
        "a2_in1k": Pretrained(RSB, test_top1=81.304),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=79.268),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=80.338),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=82.174),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.36),
        "ra_in1k": Pretrained(LARGER_TEST, test_top1=80.698),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=81.182),
        "tv_in1k": Pretrained(BILINEAR, top1=77.618),
    },
}
