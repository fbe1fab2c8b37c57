"""Any attention in any backbone."""

import dataclasses
from itertools import cycle

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights, create_model
from senet_jax.layers.named import ATTENTIONS, INNERS
from tests.models.shrink import shrink
from tests.models.twins import random_images, random_variables, train_step

BACKBONES = (
    *("resnet18", "seresnet50", "seresnet164", "se_shake_shake26_2x96d", "seresnext29_8x64d"),
    *("mobilenetv1_100", "efficientnet_b0", "regnety_002", "cspdarknet53", "vgg16_bn"),
    *("shufflenet_v1_x1_g3", "bn_inception", "inception_resnet_v2"),
)
STAGES = 5
WITHOUT_GATES = ("danet",)  # it mixes channels
PAIRS = list(zip(ATTENTIONS, cycle(BACKBONES), strict=False))
# for the few channels of the twins
SMALL = dict(reduction=2, groups=2, which="top4")


def small(template):
    """The same attention, and its parts, with options that few channels allow."""
    changed = {}
    for field in dataclasses.fields(template):
        value = getattr(template, field.name)
        if field.name in SMALL and value is not None:
            changed[field.name] = SMALL[field.name]
        elif isinstance(value, nn.Module) and field.name not in ("parent", "norm"):
            changed[field.name] = small(value)
    return template.clone(**changed)


def twin(backbone, attention):
    found = shrink(backbone)
    return found.model.clone(attention=small(ATTENTIONS[attention])), found.size


def check_trains(model, size):
    images = random_images(size=size)
    variables = random_variables(model, images)
    (_, (logits, _)), (gradients, _) = train_step(model, variables, images)
    assert np.isfinite(logits).all()
    flat = traverse_util.flatten_dict(gradients, sep="/")
    assert [path for path, g in flat.items() if not (np.isfinite(g).all() and np.any(g))] == []
    return attention_weights(model, variables, images)


@pytest.mark.parametrize("start", range(0, len(ATTENTIONS), STAGES))
def test_every_attention_trains(start):
    """Five of them in one network, another in each stage."""
    names = list(ATTENTIONS)[start : start + STAGES]
    model = shrink("seresnet20").model.clone(
        stage_sizes=(1,) * len(names), attention=tuple(small(ATTENTIONS[name]) for name in names)
    )
    gates = check_trains(model, 32)
    assert all(np.isfinite(s).all() for s in gates.values())
    seen = {path.split("/")[0] for path in gates}
    expected = {f"stage{i}" for i, name in enumerate(names, 1) if name not in WITHOUT_GATES}
    assert seen == expected


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "backbone"), PAIRS)
def test_every_attention_trains_in_a_backbone(attention, backbone):
    assert check_trains(*twin(backbone, attention)) or attention in WITHOUT_GATES


def shapes_and_gates(model, size):
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    both = lambda v, x: (model.apply(v, x), attention_weights(model, v, x))
    return jax.eval_shape(both, variables, images)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_fits_every_backbone(attention, backbone):
    model, size = twin(backbone, attention)
    for dtype in ("float32", "bfloat16"):
        logits, gates = shapes_and_gates(model.clone(dtype=dtype), size)
        assert logits.shape == (2, 10) and logits.dtype == np.float32
        assert gates or attention in WITHOUT_GATES
        assert {s.dtype for s in gates.values()} <= {np.dtype("float32")}


@pytest.mark.parametrize("attention", ["se", "cbam", "srm"])
def test_places_may_be_several_and_differ_by_stage(attention):
    placement = (("standard",), ("standard", "identity"))
    model = shrink("resnet18").model.clone(attention=small(ATTENTIONS[attention]))
    _, gates = shapes_and_gates(model.clone(placement=placement), 16)
    assert {"/".join(path.split("/")[:3]) for path in gates} == {
        "stage1/block1/se",
        "stage2/block1/se_standard",
        "stage2/block1/se_identity",
    }


def test_names_stand_for_attentions():
    named = create_model("resnet18", attention="eca", inner="sk")
    given = create_model("resnet18", attention=ATTENTIONS["eca"], inner=INNERS["sk"])
    assert named == given
    by_stage = create_model("resnet18", attention=("se", None, "ese", "eca"))
    assert by_stage.attention == (ATTENTIONS["se"], None, ATTENTIONS["ese"], ATTENTIONS["eca"])
    with pytest.raises(ValueError, match=r"Unknown attention 'ecaa'. Did you mean 'eca'"):
        create_model("resnet18", attention="ecaa")
    with pytest.raises(ValueError, match=r"Unknown inner 'skk'. Did you mean 'sk'"):
        create_model("resnet18", inner="skk")


def test_names_may_come_with_fields_as_configs_and_json_write_them():
    options = {"name": "se", "reduction": 4, "gate": "tanh"}
    model = create_model("resnet18", attention=[options, None, None, "eca"], inner={"name": "sk"})
    se = SEBlock(reduction=4, gate="tanh")
    assert model.attention == (se, None, None, ATTENTIONS["eca"])
    assert model.inner == INNERS["sk"]
    with pytest.raises(ValueError, match=r"attention 'se' has no 'reductoin'. Did you mean 'redu"):
        create_model("resnet18", attention={"name": "se", "reductoin": 4})
    with pytest.raises(ValueError, match=r"attention=\{'reduction': 4\} has no name: expected"):
        create_model("resnet18", attention={"reduction": 4})
