"""Published weights of residual networks with other attention than SE.

The tags and inputs are those of timm 1.0.31 (its `pretrained_cfg`s).
"""

from senet_jax.models.inputs import BICUBIC, BILINEAR, Input, Pretrained, tags

MIIL = Input(224, 0.875, "bicubic", 288, 0.95)
RA2 = Input(256, 0.875, "bicubic", 320, 0.95)
RSB = Input(224, 0.95, "bicubic", 288, 1.0)  # "ResNet strikes back", arXiv 2110.00476
RSB_SHORT = Input(160, 0.95, "bicubic", 224, 0.95)  # its procedure A3

# by name and tag; a name's first tag is its default, as in timm
PRETRAINED: dict[str, dict[str, Pretrained]] = {
    "ecaresnet26t": tags(ra2_in1k=RA2),
    "ecaresnet50d": tags(miil_in1k=MIIL),
    "ecaresnet50t": tags(ra2_in1k=RA2, a1_in1k=RSB, a2_in1k=RSB, a3_in1k=RSB_SHORT),
    "ecaresnet101d": tags(miil_in1k=MIIL),
    "ecaresnet269d": tags(ra2_in1k=Input(320, 0.95, "bicubic", 352, 1.0)),
    "ecaresnetlight": tags(miil_in1k=MIIL),
    "skresnet18": tags(ra_in1k=BICUBIC),
    "skresnet34": tags(ra_in1k=BICUBIC),
    "skresnext50_32x4d": tags(ra_in1k=BICUBIC),
    "resnest14d": tags(gluon_in1k=BILINEAR),
    "resnest26d": tags(gluon_in1k=BILINEAR),
    "resnest50d": tags(in1k=BILINEAR),
    "resnest50d_1s4x24d": tags(in1k=BICUBIC),
    "resnest50d_4s2x40d": tags(in1k=BICUBIC),
    "resnest101e": tags(in1k=Input(256, 0.875, "bilinear")),
    "resnest200e": tags(in1k=Input(320, 0.909, "bicubic")),
    "resnest269e": tags(in1k=Input(416, 0.928, "bicubic")),
}
