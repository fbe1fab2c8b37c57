"""The table of published weights against timm's own, and our images against its transforms."""

import numpy as np
import pytest

from senet_jax.models.pretrained import PRETRAINED, RELEASED, find_pretrained
from senet_jax.preprocessing import Preprocess

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_tag_is_timms(name):
    from tests.parity.reference import timm

    published = timm.models._registry._model_default_cfgs[name].cfgs
    ours = PRETRAINED[name]
    assert ours.keys() == {tag for tag, cfg in published.items() if cfg.has_weights}
    assert find_pretrained(name)[1] == timm.models.get_pretrained_cfg(name).tag
    for tag, (images, classes, *_) in ours.items():
        cfg = published[tag]
        # on the hub it is f"timm/{name}.{tag}"; timm takes a few from elsewhere
        assert cfg.hf_hub_id == "timm/" or f"{name}.{tag}" in RELEASED
        assert cfg.num_classes == classes
        assert cfg.input_size == (3, images.size, images.size)
        larger = images.test_size and (3, images.test_size, images.test_size)
        assert cfg.test_input_size == larger
        assert (cfg.crop_pct, cfg.test_crop_pct) == (images.crop, images.test_crop)
        assert (cfg.interpolation, cfg.crop_mode) == (images.interpolation, images.crop_mode)
        assert (cfg.mean, cfg.std) == (images.mean, images.std)


def test_every_tag_of_these_families_is_there():
    """Of families that the table has: untrained names are none, and some are left out."""
    from tests.parity.reference import timm

    families = ("efficientnet_b?", "tf_efficientnet_b*", "efficientnetv2_*", "tf_efficientnetv2_*")
    families += ("tinynet_*", "semnasnet_*", "hardcorenas_*", "lcnet_*", "fbnetv3_*")
    families += ("mobilenetv1_*", "mobilenetv3_*", "tf_mobilenetv3_*")
    families += ("regnety_*", "inception_v*", "inception_resnet_*")
    left_out = {"mobilenetv3_large_150d", "regnety_640", "regnety_1280", "regnety_2560"}
    names = {name.split(".")[0] for family in families for name in timm.list_pretrained(family)}
    assert timm.__version__ == "1.0.31"
    assert names - left_out <= PRETRAINED.keys()


@pytest.mark.parametrize("shape", [(50, 71), (97, 40), (33, 33), (300, 37)])
@pytest.mark.parametrize(
    "tag",
    [
        "efficientnet_b5.sw_in12k_ft_in1k",  # squash
        "tf_efficientnetv2_b3.in21k_ft_in1k",  # squash, and cut
        "tf_efficientnet_b1.in1k",
        "fbnetv3_b.ra2_in1k",  # bilinear
        "inception_resnet_v2.tf_in1k",
    ],
)
def test_images_are_prepared_as_by_timms_transforms(tag, shape):
    from PIL import Image

    from tests.parity.reference import timm

    torchvision = pytest.importorskip("torchvision")
    if torchvision.__version__ == "0":
        pytest.skip("needs torchvision itself, and not the stand-in for it")
    name, _, tag = tag.partition(".")
    cfg = timm.models.get_pretrained_cfg(f"{name}.{tag}").to_dict()
    images = PRETRAINED[name][tag].input
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    size = 32  # the published sizes take long, and nothing else depends on them
    config = timm.data.resolve_data_config(pretrained_cfg=cfg | dict(input_size=(3, size, size)))
    transform = timm.data.create_transform(**config, is_training=False)
    expected = transform(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)
    preprocess = Preprocess(
        (size, size), images.mean, images.std, images.crop, images.interpolation, images.crop_mode
    )
    # the same pixels; mean and deviation are float32 on both sides, in another order
    np.testing.assert_allclose(preprocess(pixels)[0], expected, atol=2e-6)
