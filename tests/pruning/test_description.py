"""Pruned networks are usual models: created, exported, loaded and drawn like others."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import create_model, load, pruning
from senet_jax.convert import export_timm
from senet_jax.plotting import plot_kept_channels
from tests.models.twins import random_variables
from tests.pruning.small import mobile, resnet

IMAGES = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)


def pruned(name, **options):
    """A network of the zoo of which a part is gone, and its variables."""
    model = create_model(name, **options)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    variables = random_variables(model, images)
    scores = pruning.scores("random", model, variables)
    statistics = {
        block: pruning.BlockStatistics(
            *(np.ones(len(values)),) * 3, *(np.zeros(len(values)),) * 3, (4, 4)
        )
        for block, values in scores.items()
    }
    plan = pruning.keep_share(scores, 0.5)
    last = list(scores)[-1]
    bare, values = pruning.ungraft(model, variables, statistics, [last])
    del plan[last]  # in the standard place nothing but inner channels could be cut there
    return pruning.cut(bare, values, plan, statistics)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("seresnet18", dict(stage_sizes=(1, 1, 1, 1))),
        pytest.param("mobilenetv3_small_050", {}, marks=pytest.mark.slow),
    ],
)
def test_exports_are_loaded_as_they_were(tmp_path, name, options):
    model, variables = pruned(name, **options)
    same = create_model(name, **options, **json.loads(json.dumps(pruning.cut_options(model))))
    assert same == model and hash(same) == hash(model)
    export_timm(model, name, variables, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())["model_args"]
    assert "without_attention" in told and len(pruning.cut_options(model)) == 2
    loaded, values = load(tmp_path)
    assert loaded == model
    jax.tree.map(np.testing.assert_array_equal, values, variables)


def test_widths_of_single_blocks():
    model = resnet(inner_widths=((3,), (None,)), kept_outputs=((None,), ((1, 5),)))
    params = jax.tree.map(
        jnp.shape, jax.eval_shape(model.init, jax.random.key(0), IMAGES)["params"]
    )
    assert params["stage1"]["block1"]["conv1"]["kernel"] == (3, 3, 8, 3)
    assert params["stage1"]["block1"]["conv2"]["kernel"] == (3, 3, 3, 8)
    assert params["stage2"]["block1"]["conv2"]["kernel"] == (3, 3, 16, 2)
    assert params["stage2"]["block1"]["se"]["fc1"]["kernel"] == (2, 8)  # 16 / 2 units, as uncut


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (
            resnet,
            dict(inner_widths=((4,),)),
            r"inner_widths has stages of \[1\] blocks, .*\[1, 1\]",
        ),
        (resnet, dict(inner_widths=((4,), 4)), r"stages of \[1, 4\] blocks"),
        (resnet, dict(inner_widths=((4,), (0,))), "has 0, expected numbers of channels"),
        (resnet, dict(kept_outputs=((None,), ((0, 16),))), r"\(0, 16\), expected .* of 0 to 15"),
        (resnet, dict(kept_outputs=((None,), ((),))), "at least one channel"),
        (resnet, dict(kept_outputs=((None,), ((2, 1),))), "in ascending order"),
        (resnet, dict(without_attention=("stage1/block2",)), "'stage1/block2', and there is no"),
        (mobile, dict(without_attention=("block1",)), "'block1', and there is no such block"),
        (mobile, dict(middle_widths=((8,), (8,), (8,))), "separable blocks have no others"),
    ],
)
def test_wrong_descriptions_are_refused(make, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(make(**options).init, jax.random.key(0), IMAGES)


# ---- the figure ----


def drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize(
    "kept",
    [
        {"stage1/block1": (3, 8)},
        {"stage1/block1": (8, 8), "stage2/block1": (1, 2048)},
        {f"stage1/block{i}": (16, 16) for i in range(60)},
    ],
    ids=["one block", "wide", "nothing cut"],
)
def test_the_figure_shows_what_is_left(kept, recwarn):
    figure = plot_kept_channels(kept)
    (panel,) = figure.axes
    bars = {c.get_label(): [bar.get_width() for bar in c] for c in panel.containers}
    assert bars == {"uncut": [of for _, of in kept.values()], "kept": [k for k, _ in kept.values()]}
    assert [text.get_text() for text in panel.get_yticklabels()] == list(kept)
    assert drawn(figure).startswith(b"\x89PNG")
    assert not recwarn.list


@pytest.mark.parametrize("kept", [{}, {"stage1/block1": (9, 8)}, {"stage1/block1": (0, 8)}])
def test_what_is_no_number_of_channels_is_not_drawn(kept):
    with pytest.raises(ValueError, match=r"There are no blocks|expected \(channels now"):
        plot_kept_channels(kept)
