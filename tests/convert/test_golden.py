"""Our outputs against timm's and moskomule's, stored: see `tests.convert.twins`.

The same against the living originals, for all networks: docs/parity.md.
"""

from functools import cache

import numpy as np
import pytest

from senet_jax import attention_weights
from senet_jax.convert import from_moskomule, from_timm, moskomule, timm, to_timm
from senet_jax.convert.tables import tensors_of
from tests.convert import ours, seeded
from tests.convert.mistakes import MISTAKES, SIZES, error
from tests.convert.twins import (
    CLASSES,
    GOLDEN,
    TRAINING_BATCH,
    TWINS,
    WITH_GATES,
    Twin,
    assert_alike,
    read_golden,
    summary,
    with_dtype,
)

# a step of each way to put attention into a block; the others take up to a quarter of a minute
QUICK_TO_TRAIN = ("seresnet50", "legacy_senet154", "efficientnet_b0", "skresnet50", "ecaresnet50t")
# one of each layout of weights
QUICK_TO_READ = (
    *("seresnet50", "legacy_seresnet50", "resnetrs50", "senet154", "seresnext26d_32x4d"),
    *("seresnetaa50d", "ecaresnet50t", "skresnet50", "resnest50d", "efficientnet_b0"),
    *("mobilenetv3_large_100", "regnety_002", "cspdarknet53", "vgg16_bn", "seresnet20"),
)
READ = {"timm": from_timm, "moskomule": from_moskomule}


def weights(twin: Twin) -> dict[str, np.ndarray]:
    return _weights(TWINS.index(twin))


@cache
def _weights(index: int) -> dict[str, np.ndarray]:
    twin = TWINS[index]
    table = moskomule.TABLE if twin.source == "moskomule" else timm.table_of(twin.model())
    return seeded.weights(twin.model(), table)


def rows(twins, quick):
    """Parameters of a test, marked slow but for these networks."""
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(t, id=t.id, marks=marks[t.name in quick]) for t in twins]


@pytest.mark.parametrize("twin", rows(TWINS, QUICK_TO_READ))
def test_logits_and_all_features_are_the_originals(twin):
    golden = read_golden(twin)
    variables = READ[twin.source](weights(twin), twin.model())
    for size in twin.sizes:
        logits, levels = ours.evaluate(twin.model(), variables, seeded.images(2, size))
        # 1e-4 is what this project promises; float32 sums in another order come to 2e-6
        assert ours.relative_error(logits, golden[f"logits{size}"]) < 1e-4
        assert [level.shape for level in levels] == [tuple(s) for s in golden[f"shapes{size}"]]
        for i, (level, stored) in enumerate(zip(levels, golden[f"levels{size}"], strict=True)):
            assert_alike(level, stored, 1e-4, f"level {i} at {size} pixels")


@pytest.mark.parametrize("twin", WITH_GATES, ids=lambda twin: twin.name)
def test_attention_weights_are_the_gates_of_the_original(twin):
    variables = from_timm(weights(twin), twin.model())
    found = attention_weights(twin.model(), variables, seeded.images(2, twin.sizes[0]))
    with np.load(GOLDEN / "gates.npz") as file:
        stored = [file[f"{twin.name}/{i}"] for i in range(len(found))]
        assert f"{twin.name}/{len(found)}" not in file
    for (path, ours_), theirs in zip(found.items(), stored, strict=True):
        np.testing.assert_allclose(ours_, theirs, rtol=0, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("twin", rows([t for t in TWINS if t.trains], QUICK_TO_TRAIN))
def test_gradients_and_running_statistics_of_a_step_are_the_originals(twin, x64):
    golden, state = read_golden(twin), weights(twin)
    model = with_dtype(twin.model(), "float64")
    variables = READ[twin.source](state, model)
    images = seeded.images(TRAINING_BATCH, twin.training_size).astype(np.float64)
    step = ours.train_step(model, variables, images, seeded.labels(TRAINING_BATCH, CLASSES))
    assert abs(step["loss"] - golden["loss"]) < 1e-12
    assert_alike(step["images"], golden["images_gradient"], twin.rounding, "gradient of the images")
    found = in_their_layout(twin, step, variables)
    least = 1e-3 * golden["gradients"][:, 0].max()
    for name, stored in zip(str(golden["names"]).split(), golden["gradients"], strict=True):
        assert_alike(found[name], stored, twin.rounding, f"gradient of {name}", least)
    for i, name in enumerate(str(golden["norms"]).split()):
        mean, variance = found[f"{name}.running_mean"], found[f"{name}.running_var"]
        old = np.asarray(state[f"{name}.running_var"], np.float64)
        variance = ours.unbiased(old, variance, golden["counts"][i])
        assert_alike(mean, golden["means"][i], twin.rounding, f"running mean of {name}")
        assert_alike(variance, golden["variances"][i], twin.rounding, f"running variance of {name}")


def in_their_layout(twin, step, variables):
    """Gradients and new statistics under the names of the original."""
    tree = {"params": step["params"], "batch_stats": step["batch_stats"]}
    if twin.source == "timm":
        return to_timm(tree, with_dtype(twin.model(), "float64"))
    tensors = tensors_of(twin.model(), moskomule.TABLE, channels=3)
    found = ours.flat(tree)
    return {k: t.axes.there(np.asarray(found["/".join(t.path)])) for k, t in tensors.items()}


@pytest.mark.parametrize("name", ["seresnet50", "legacy_seresnet50", "seresnetaa50d"])
def test_bfloat16_inference_stays_near_float32(name):
    twin = next(twin for twin in TWINS if twin.name == name)
    model, variables = twin.model(dtype="bfloat16"), from_timm(weights(twin), twin.model())
    logits, _ = ours.evaluate(model, variables, seeded.images(2, twin.sizes[0]))
    # 8 bits: each of some 15 convolutions rounds by up to 0.4 %, in either direction: 0.3 %
    assert ours.relative_error(logits, read_golden(twin)[f"logits{twin.sizes[0]}"]) < 0.01


@pytest.mark.slow  # a compilation for each of them
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_every_mistake_known_would_be_seen(mistake):
    assert max(error(mistake, size) for size in SIZES) > 2e-4  # twice what is tolerated


def test_golden_files_say_how_they_were_made():
    for twin in TWINS:
        golden = read_golden(twin)
        assert str(golden["command"]) == "python -m tests.parity.make_golden"
        assert "timm" in str(golden["versions"])


def test_a_summary_tells_tensors_apart():
    values = seeded.tensor("weight", (8, 6, 3, 3))
    assert_alike(values, summary(values), 1e-6, "itself")
    for other in (values[::-1], values.transpose(1, 0, 2, 3), values * (1 + 1e-3)):
        with pytest.raises(AssertionError, match="another: relative error"):
            assert_alike(other, summary(values), 1e-4, "another")
