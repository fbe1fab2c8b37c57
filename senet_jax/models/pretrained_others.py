"""Published weights of RegNetY, CSPDarknet, VGG and the Inceptions.

The tags and inputs are those of timm 1.0.31 (its `pretrained_cfg`s).
"""

from senet_jax.models.inputs import BICUBIC, BILINEAR, Input, Pretrained, tags

IN12K = 11821  # classes of ImageNet-12k

RA = Input(224, 0.95, "bicubic", 288, 1.0)
TORCHVISION_2 = Input(224, 0.965, "bicubic")
LARGE = Input(384, 1.0, "bicubic")
INCEPTION = Input(299, 0.875, "bicubic")
INCEPTION_RESNET = Input(299, 0.8975, "bicubic")

# by name and tag; a name's first tag is its default, as in timm
PRETRAINED: dict[str, dict[str, Pretrained]] = {
    "regnety_002": tags(pycls_in1k=BICUBIC),
    "regnety_004": tags(tv2_in1k=TORCHVISION_2, pycls_in1k=BICUBIC),
    "regnety_006": tags(pycls_in1k=BICUBIC),
    "regnety_008": tags(pycls_in1k=BICUBIC),
    "regnety_008_tv": tags(tv2_in1k=TORCHVISION_2),
    "regnety_016": tags(tv2_in1k=TORCHVISION_2, pycls_in1k=BICUBIC),
    "regnety_032": tags(ra_in1k=RA, tv2_in1k=TORCHVISION_2, pycls_in1k=BICUBIC),
    "regnety_040": tags(ra3_in1k=RA, pycls_in1k=BICUBIC),
    "regnety_064": tags(ra3_in1k=RA, pycls_in1k=BICUBIC),
    "regnety_080": tags(ra3_in1k=RA, pycls_in1k=BICUBIC),
    "regnety_080_tv": tags(tv2_in1k=TORCHVISION_2),
    "regnety_120": {
        **tags(sw_in12k_ft_in1k=RA),
        **tags(IN12K, sw_in12k=RA),
        **tags(pycls_in1k=BICUBIC),
    },
    "regnety_160": {
        **tags(sw_in12k_ft_in1k=RA, lion_in12k_ft_in1k=RA),
        **tags(IN12K, sw_in12k=RA),
        **tags(deit_in1k=RA, tv2_in1k=TORCHVISION_2),
        **tags(swag_ft_in1k=LARGE, swag_lc_in1k=TORCHVISION_2, pycls_in1k=BICUBIC),
    },
    "regnety_320": {
        **tags(tv2_in1k=TORCHVISION_2, swag_ft_in1k=LARGE, swag_lc_in1k=TORCHVISION_2),
        **tags(seer_ft_in1k=LARGE),
        **tags(0, seer=TORCHVISION_2),
        **tags(pycls_in1k=BICUBIC),
    },
    "cspdarknet53": tags(ra_in1k=Input(256, 0.887, "bilinear")),
    "vgg16": tags(tv_in1k=BILINEAR),
    "vgg16_bn": tags(tv_in1k=BILINEAR),
    "inception_v3": {
        # torchvision turns ImageNet's values into these inside the network (transform_input)
        **tags(tv_in1k=INCEPTION.halved(), tf_in1k=INCEPTION.halved()),
        **tags(tf_adv_in1k=INCEPTION.halved(), gluon_in1k=INCEPTION),
    },
    "inception_v4": tags(tf_in1k=INCEPTION.halved()),
    "inception_resnet_v2": tags(
        tf_in1k=INCEPTION_RESNET.halved(), tf_ens_adv_in1k=INCEPTION_RESNET.halved()
    ),
}
