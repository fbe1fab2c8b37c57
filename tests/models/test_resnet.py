"""(SE-)ResNets: blocks against their formulas, places, deferred against plain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock, attention_weights, create_model, functional
from senet_jax.models.blocks import PLACES
from tests.models.twins import (
    assert_steps_agree,
    count,
    features,
    norm,
    random_images,
    random_variables,
    train_step,
)

# SE-ResNet-50 with C // 16, with and without biases (Tables 14 and 15; "printed 25.8M" for 3x3)
COUNTS_BY_PLACE = {
    "standard": (28_088_024, 28_071_976),
    "pre": (27_562_140, 27_548_200),
    "post": (28_088_024, 28_071_976),
    "identity": (28_088_024, 28_071_976),
    "3x3": (25_718_228, 25_714_216),
    "activated": (28_088_024, 28_071_976),
}
EVERY_PLACEMENT = [*PLACES, ("standard", "identity"), (("3x3", "post"), ("pre",))]


def twin(bottleneck=True, **options):
    """A small network with an identity and a projection shortcut."""
    options = dict(stage_sizes=(1, 1), width=8, attention=SEBlock(reduction=2)) | options
    if bottleneck:  # a projection in both stages, so an identity needs a second block
        options = dict(bottleneck=True) | options | dict(stage_sizes=(2, 1))
    return create_model("seresnet20", **options)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_has_its_parameters(place):
    for use_bias, expected in zip((True, False), COUNTS_BY_PLACE[place], strict=True):
        attention = SEBlock(use_bias=use_bias)
        assert count(create_model("resnet50", attention=attention, placement=place)) == expected


def test_attention_turns_plain_into_se_and_back():
    assert count(create_model("seresnet50", attention=None)) == 25_557_032
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    trees = [
        jax.eval_shape(model.init, jax.random.key(0), images)
        for model in (create_model("resnet50", attention=SEBlock()), create_model("seresnet50"))
    ]
    assert trees[0] == trees[1]


def test_stages_may_differ():
    model = create_model("resnet50", attention=(None, SEBlock(), SEBlock(reduction=8), None))
    variables = jax.eval_shape(model.init, jax.random.key(0), random_images(1, 64))["params"]
    with_se = {stage for stage in variables if "se" in variables[stage].get("block1", {})}
    assert with_se == {"stage2", "stage3"}
    assert variables["stage3"]["block1"]["se"]["fc1"]["kernel"].shape == (1024, 128)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
@pytest.mark.parametrize("size", [64, 65, 97])
def test_features_are_as_feature_info_says(name, size):
    model = create_model(name)
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    apply = lambda v, x: model.apply(v, x, method="features")
    for level, info in zip(
        jax.eval_shape(apply, variables, images), model.feature_info, strict=True
    ):
        side = -(-size // info.stride)
        assert level.shape == (2, side, side, info.channels)


def test_without_classes_the_pooled_features_come_out():
    images = random_images()
    model = twin(num_classes=0)
    variables = random_variables(model, images)
    assert "head" not in variables["params"]
    last = features(model, variables, images)[-1]
    pooled = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(pooled, last.mean((1, 2)), rtol=1e-6, atol=1e-6)


# ---- a block written out from the paper's formulas, without any of our layers ----


def conv_bn(params, stats, x, index, strides=1, name="conv{}", norm="bn{}"):
    kernel = params[name.format(index)]["kernel"]
    pad = kernel.shape[0] // 2
    x = jax.lax.conv_general_dilated(
        x, kernel, (strides,) * 2, ((pad, pad),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    p, s = params[norm.format(index)], stats[norm.format(index)]
    spread = lambda v: v[None, None, None]
    normal = (x - spread(s["mean"])) / jnp.sqrt(spread(s["var"]) + 1e-5)
    return normal * spread(p["scale"]) + spread(p["bias"])


def block_by_formula(params, stats, x, strides, place, gates):
    def E(u, at):
        if at != place:
            return u
        gates.append(functional.channel_attention(u, params["se"]))
        return u * gates[-1][:, None, None]

    relu = jax.nn.relu
    layers = 3 if "conv3" in params else 2
    strided = 2 if layers == 3 else 1  # which convolution has the stride
    y = E(x, "pre")
    for i in range(1, layers):
        y = conv_bn(params, stats, y, i, strides if i == strided else 1)
        y = relu(E(y, "3x3") if i == layers - 1 else y)
    y = E(conv_bn(params, stats, y, layers), "standard")
    y = E(relu(y), "activated") if place == "activated" else y
    S = x
    if "shortcut_conv" in params:
        S = conv_bn(params, stats, x, "", strides, "shortcut_conv{}", "shortcut_bn{}")
    return E(relu(E(S, "identity") + y), "post")


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_blocks_compute_the_papers_formulas(bottleneck, place):
    model, images = twin(bottleneck, placement=place), random_images()
    variables = random_variables(model, images)
    levels = features(model, variables, images)
    gates, x = [], levels[0]
    for stage, blocks in enumerate(model.stage_sizes, 1):
        for block in range(1, blocks + 1):
            path = f"stage{stage}", f"block{block}"
            params, stats = (variables[c][path[0]][path[1]] for c in ("params", "batch_stats"))
            strides = 2 if stage == 2 and block == 1 else 1
            x = block_by_formula(params, stats, x, strides, place, gates)
        np.testing.assert_allclose(x, levels[stage], rtol=1e-4, atol=1e-4)
    found = attention_weights(model, variables, images)
    assert len(found) == sum(model.stage_sizes)
    for ours, theirs in zip(found.values(), gates, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


# ---- deferred against plain ----


@pytest.mark.parametrize("placement", EVERY_PLACEMENT)
def test_deferred_and_plain_agree_in_everything(placement):
    assert_deferred_and_plain_agree(bottleneck=True, placement=placement)


@pytest.mark.slow
@pytest.mark.parametrize("placement", EVERY_PLACEMENT)
def test_deferred_and_plain_agree_in_basic_blocks(placement):
    assert_deferred_and_plain_agree(bottleneck=False, placement=placement)


def assert_deferred_and_plain_agree(bottleneck, placement):
    images = random_images()
    fused, plain = (twin(bottleneck, placement=placement, fused=f) for f in (True, False))
    variables = random_variables(fused, images)
    abstract = lambda model: jax.eval_shape(model.init, jax.random.key(0), images)
    assert abstract(fused) == abstract(plain)
    steps = [train_step(m, variables, images) for m in (fused, plain)]
    assert_steps_agree(*steps, tolerance=1e-5, floor=0.01)


@pytest.mark.parametrize("bottleneck", [pytest.param(True, marks=pytest.mark.slow), False])
def test_deferred_and_plain_agree_to_the_last_digits_of_float64(bottleneck, x64):
    images = random_images(dtype=np.float64)
    options = dict(placement=PLACES, dtype="float64", param_dtype="float64")
    options["attention"] = SEBlock(reduction=2, param_dtype="float64")
    fused, plain = (twin(bottleneck, fused=f, **options) for f in (True, False))
    variables = random_variables(fused, images)
    steps = [train_step(m, variables, images) for m in (fused, plain)]
    assert_steps_agree(*steps, tolerance=1e-11)


@pytest.mark.parametrize("fused", [True, False])
def test_bfloat16_stays_near_float32(fused):
    images = random_images()
    low, full = (twin(fused=fused, dtype=d) for d in ("bfloat16", "float32"))
    variables = random_variables(full, images)
    (_, (logits, updates)), _ = train_step(low, variables, images)
    (_, (exact, _)), _ = train_step(full, variables, images)
    assert logits.dtype == jnp.float32
    assert {s.dtype for s in jax.tree.leaves(updates)} == {np.dtype("float32")}
    # bf16 has 8 bits: each of 10 convolutions rounds by up to 0.4 %
    assert norm(logits - exact) / norm(exact) < 0.05


def test_equal_models_are_compiled_once():
    compilations = 0

    def forward(model, variables, images):
        nonlocal compilations
        compilations += 1  # runs only while tracing
        return model.apply(variables, images)

    images = random_images()
    variables = random_variables(twin(), images)
    jitted = jax.jit(forward, static_argnums=0)
    for _ in range(3):
        jitted(twin(), variables, images)
    assert compilations == 1
    assert twin() == twin()
    assert twin() != twin(width=16)


@pytest.mark.parametrize(
    ("options", "shape", "error", "sentence"),
    [
        (
            {},
            (12, 12, 3),
            ValueError,
            r"shape \(12, 12, 3\), expected \[N, H, W, C\].*image\[None\]",
        ),
        ({}, (4, 12, 12), ValueError, r"shape \(4, 12, 12\).*images\[\.\.\., None\]"),
        ({}, (0, 12, 12, 3), ValueError, "at least one image"),
        (
            dict(attention=SEBlock(reduction=64)),
            (1, 12, 12, 3),
            ValueError,
            "reduction=64 leaves no",
        ),
        (
            dict(placement="middle"),
            (1, 12, 12, 3),
            ValueError,
            "Unknown placement 'middle': expected",
        ),
        (
            dict(attention=(None,) * 3),
            (1, 12, 12, 3),
            ValueError,
            "attention has 3 entries.*2 stages",
        ),
        (
            dict(stem="fancy"),
            (1, 12, 12, 3),
            ValueError,
            "Unknown stem 'fancy': expected 'imagenet'",
        ),
        (
            dict(shortcut="5x5"),
            (1, 12, 12, 3),
            ValueError,
            "Unknown shortcut '5x5': expected '1x1'",
        ),
    ],
)
def test_wrong_input_gets_a_sentence(options, shape, error, sentence):
    with pytest.raises(error, match=sentence):
        twin(**options).init(jax.random.key(0), jnp.ones(shape))


def test_integers_and_other_channels_get_a_sentence():
    with pytest.raises(TypeError, match="images are uint8, expected floats"):
        twin().init(jax.random.key(0), jnp.ones((1, 12, 12, 3), jnp.uint8))
    variables = random_variables(twin(), jnp.ones((1, 12, 12, 3)))
    with pytest.raises(ValueError, match=r"stem/conv1/kernel has shape .* input with 1 channels"):
        twin().apply(variables, jnp.ones((1, 12, 12, 1)))
