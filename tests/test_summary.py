"""Parameters, multiply-adds and the table of the zoo, against counts of the published networks."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from senet_jax import SEBlock, create_model, list_models
from senet_jax.cli import main
from senet_jax.models import pretrained_residual
from senet_jax.models.pretrained import PRETRAINED
from senet_jax.summary import count_parameters, model_table, multiply_adds, write_table

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"

# Parameters, and multiply-adds at 224 pixels: timm 1.0.31's own modules, counted by hooks on its
# Conv2d and Linear (outputs times inputs of each)
PUBLISHED = {
    "legacy_senet154": (115_088_984, 20_688_363_520),
    "legacy_seresnet101": (49_326_872, 7_574_937_600),
    "legacy_seresnet152": (66_821_848, 11_288_993_792),
    "legacy_seresnet18": (11_778_592, 1_814_160_384),
    "legacy_seresnet34": (21_958_868, 3_663_918_592),
    "legacy_seresnet50": (28_088_024, 3_860_488_192),
    "legacy_seresnext101_32x4d": (48_955_416, 7_974_739_968),
    "legacy_seresnext26_32x4d": (16_790_280, 2_472_099_840),
    "legacy_seresnext50_32x4d": (27_559_896, 4_232_994_816),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet152d": (60_212_040, 11_753_267_200),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet200d": (64_693_064, 15_247_122_432),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet50t": (25_573_728, 4_297_213_952),
    "resnetaa50d": (25_576_264, 5_369_274_368),
    "resnetrs101": (63_618_696, 8_175_624_192),
    "resnetrs152": (86_621_576, 11_895_185_408),
    "resnetrs200": (93_209_992, 15_391_137_792),
    "resnetrs270": (129_861_448, 20_643_618_816),
    "resnetrs350": (163_956_168, 26_332_012_544),
    "resnetrs420": (191_891_656, 31_363_342_336),
    "resnetrs50": (35_691_912, 4_454_490_112),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnext101_32x8d": (88_791_336, 16_414_015_488),
    "resnext101_64x4d": (83_455_272, 15_460_270_080),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "senet154": (115_088_984, 20_688_363_520),
    "seresnet101": (49_326_872, 7_806_148_608),
    "seresnet152": (66_821_848, 11_520_204_800),
    "seresnet152d": (66_841_080, 11_759_845_376),
    "seresnet18": (11_779_624, 1_814_161_408),
    "seresnet200d": (71_855_096, 15_254_224_896),
    "seresnet269d": (113_672_760, 20_281_032_704),
    "seresnet34": (21_960_416, 3_663_920_128),
    "seresnet50": (28_088_024, 4_091_699_200),
    "seresnet50t": (28_104_720, 4_299_728_896),
    "seresnetaa50d": (28_107_256, 5_371_789_312),
    "seresnext101_32x4d": (48_955_416, 7_974_739_968),
    "seresnext101_32x8d": (93_569_048, 16_418_758_656),
    "seresnext101_64x4d": (88_232_984, 15_465_013_248),
    "seresnext101d_32x8d": (93_588_280, 16_658_399_232),
    "seresnext26d_32x4d": (16_809_512, 2_711_740_416),
    "seresnext26t_32x4d": (16_806_976, 2_680_129_536),
    "seresnext50_32x4d": (27_559_896, 4_232_994_816),
    "seresnextaa101d_32x8d": (93_588_280, 17_178_624_000),
    "seresnextaa201d_32x8d": (149_394_904, 34_276_270_080),
}
# Multiply-adds at 32 pixels, depth 6n + 2 with option-B shortcuts: counted as above
CIFAR = {20: 40_813_184, 32: 69_124_736, 44: 97_436_288, 56: 125_747_840, 110: 253_149_824}


# Units a stage and width of the first
WIDE = {"wrn16_8": (2, 128), "wrn28_10": (4, 160)}


def is_quick(name):
    return sum(create_model(name).stage_sizes) <= 12


def counts(names):
    return {row.name: (row.parameters, row.multiply_adds) for row in model_table(names)}


def wide_multiply_adds(units, width):
    """arXiv 1605.07146: two 3x3 convolutions a unit, one 1x1 projection a stage, 10 classes."""
    total, channels = 32**2 * 9 * 3 * 16, 16
    for stage in range(3):
        wide, pixels = width * 2**stage, (32 // 2**stage) ** 2
        total += pixels * (channels * wide * (9 + 1) + (2 * units - 1) * 9 * wide**2)
        channels = wide
    return total + 10 * channels


QUICK = [name for name in PUBLISHED if is_quick(name)]


def test_quick_models_cost_what_the_published_ones_do():
    assert len(QUICK) >= 5
    assert counts(QUICK) == {name: PUBLISHED[name] for name in QUICK}


@pytest.mark.slow
def test_deep_models_cost_what_the_published_ones_do():
    deep = PUBLISHED.keys() - set(QUICK)
    assert counts(deep) == {name: PUBLISHED[name] for name in deep}


def test_every_residual_network_with_published_weights_has_a_published_count():
    assert pretrained_residual.PRETRAINED.keys() <= PUBLISHED.keys()


@pytest.mark.parametrize("depth", [20, 32, 44])
def test_cifar_networks_cost_what_their_formula_says(depth):
    plain, se = (
        multiply_adds(create_model(f"{kind}{depth}"), 32) for kind in ("resnet", "seresnet")
    )
    assert plain == CIFAR[depth]
    assert se - plain == 672 * (depth - 2) // 6  # 2 * C * C / 16 a block, C = 16, 32, 64


def test_wide_networks_cost_what_their_formula_says():
    for name, shape in WIDE.items():
        assert multiply_adds(create_model(name), 32) == wide_multiply_adds(*shape)


def test_a_model_of_ones_own_is_counted():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = nn.Conv(8, (3, 3), strides=2, feature_group_count=2)(x)  # 5 x 5 from 9 x 9
            x = SEBlock(reduction=4)(nn.avg_pool(x, (2, 2)))
            return nn.Dense(7)(x.mean((1, 2)))

    convolution, se, dense = 5 * 5 * 8 * (9 * 2), 2 * 8 * 2, 8 * 7
    assert multiply_adds(Own(), 9, channels=4) == convolution + se + dense
    parameters = (8 * 9 * 2 + 8) + (2 * 8 * 2 + 8 + 2) + (dense + 7)
    assert count_parameters(Own(), image_size=9, channels=4) == parameters


def test_loops_count_as_often_as_they_run():
    class Loop(nn.Module):
        scanned: bool = True

        @nn.compact
        def __call__(self, x, *, train=False):
            kernel = self.param("kernel", nn.initializers.ones, (4, 4))
            flat = x.mean((1, 2))
            if self.scanned:
                return jax.lax.scan(lambda y, _: (y @ kernel, None), flat, length=3)[0]
            return jax.lax.while_loop(lambda y: jnp.all(y < 0), lambda y: y @ kernel, flat)

    assert multiply_adds(Loop(), 8, channels=4) == 3 * 4 * 4
    with pytest.raises(ValueError, match="loop of unknown length"):
        multiply_adds(Loop(scanned=False), 8, channels=4)


def test_the_table_says_what_is_published():
    row = next(model_table(["seresnet152d"]))
    assert row.counted_at == 224
    assert (row.image_size, row.test_size) == (256, 320)
    assert row.published == "83.702, 84.344 (ra2_in1k)"
    published = {row.name: row.published for row in model_table(["resnet20", "seresnet18"])}
    assert published == {"resnet20": "-", "seresnet18": "-"}


def test_the_document_is_what_the_command_prints():
    """If this fails: python -m senet_jax models > docs/models.md"""
    document = DOCUMENT.read_text()
    names = re.findall(r"^\| (\w+) +\|", document, re.MULTILINE)
    assert names == ["model", *list_models()]
    header, *rows, legend = write_table(QUICK[:6])
    assert document.startswith(header)
    assert document.endswith(legend)
    assert all(row in document for row in rows)


@pytest.mark.slow
def test_the_whole_document_is_what_the_command_prints():
    assert DOCUMENT.read_text() == "".join(write_table(list_models()))


def test_names_are_listed_by_what_they_have():
    assert "seresnet101" not in list_models(pretrained=True)
    assert list_models("seresnet50*", pretrained=True) == ["seresnet50"]
    assert set(list_models(pretrained=True)) == PRETRAINED.keys()
    assert set(list_models(features=True)) <= set(list_models())


def test_a_pattern_that_matches_nothing_is_refused(capsys):
    assert main(["models", "nothing*"]) == 2
    assert capsys.readouterr().err == (
        "error: No model is called 'nothing*': try 'se*' or leave it out.\n"
    )
