"""Models by name."""

import pytest

from senet_jax import SEBlock, create_model, list_models
from senet_jax.layers import BatchNorm


def test_names_are_listed_by_pattern():
    assert list_models("seres*50") == ["seresnet50"]
    assert "resnet20" in list_models()
    assert list_models("nothing*") == []


def test_unknown_names_and_options_get_the_nearest():
    with pytest.raises(
        ValueError, match=r"Unknown model 'seresnet5O'. Did you mean .*'seresnet50'"
    ):
        create_model("seresnet5O")
    with pytest.raises(ValueError, match=r"no option 'num_class'. Did you mean 'num_classes'"):
        create_model("seresnet50", num_class=10)


def test_lists_from_a_config_become_tuples():
    model = create_model("seresnet20", stage_sizes=[1, 1], placement=[["pre"], ["post", "3x3"]])
    assert model.placement == (("pre",), ("post", "3x3"))
    assert hash(model) == hash(
        create_model("seresnet20", stage_sizes=(1, 1), placement=model.placement)
    )


def test_fused_reaches_batch_norm_and_keeps_its_other_fields():
    assert create_model("resnet18", fused=False).norm == BatchNorm(fused=False)
    model = create_model("resnet18", fused=False, norm=BatchNorm(groups=2))
    assert model.norm == BatchNorm(groups=2, fused=False)


def test_a_model_prints_what_it_is():
    text = repr(create_model("seresnet50", attention=SEBlock(reduction=8)))
    assert "stage_sizes = (3, 4, 6, 3)" in text
    assert "reduction = 8" in text
