"""Checkpoints of every format that ever was are read; those to come are refused.

tests/golden/checkpoint-<format>.tar.gz is <workdir>/checkpoints as `python -m train` with PAGE and
OVERRIDES left it, made with jax 0.10.2 and Orbax 0.12.8.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from senet_jax import loading
from senet_jax.checksums import checksums
from train.checkpoints import restore
from train.config import read_config
from train.errors import WrongInput
from train.setup import set_up

GOLDEN = Path(__file__).parents[1] / "golden"
PAGE = "configs/digits.py"
OVERRIDES = (
    "--config.model.options.stage_sizes=(1,)",
    "--config.model.options.width=4",
    "--config.model.options.attention={'name': 'se', 'reduction': 4}",
    "--config.schedule.epochs=1",
    "--config.schedule.warmup_epochs=0.5",
    "--config.data.batch_size=64",
)
# of an image with the values 0, 1/64, ... 63/64, as that version computed them
LOGITS = {
    1: [
        *(0.11374286, -0.03845891, -0.12473299, -0.09560177, -0.04406770),
        *(-0.02605290, -0.02531385, 0.10511743, 0.04286469, 0.09403064),
    ]
}
CRC = {
    1: {
        "step": 4265549780,
        "params/stem/conv1/kernel": 1094375499,
        "opt_state/0/1/trace/stem/conv1/kernel": 1977683742,
        "ema/params/head/fc/bias": 2364544816,
    }
}
every_format = pytest.mark.parametrize("number", range(1, loading.CHECKPOINT_FORMAT + 1))


@pytest.fixture
def unpacked(tmp_path):
    def unpack(number):
        with tarfile.open(GOLDEN / f"checkpoint-{number}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path

    return unpack


@pytest.fixture(scope="module")
def like(data_dir):
    config = read_config(PAGE, OVERRIDES)
    with config.unlocked():
        config.data.dir = str(data_dir)
    return set_up(config).like


@every_format
def test_the_library_reads_it(number, unpacked):
    model, variables = loading.load(unpacked(number))
    image = (np.arange(64, dtype=np.float32) / 64).reshape(1, 8, 8, 1)
    logits = model.apply(variables, image)[0]
    # Sums of float32 in another order; the logits reach 0.1.
    np.testing.assert_allclose(logits, LOGITS[number], atol=1e-6)


@every_format
def test_the_trainer_goes_on_from_it(number, unpacked, like):
    state = restore(unpacked(number), like)
    found = checksums(state)
    assert state.step == 20
    assert {name: found[name] for name in CRC[number]} == CRC[number]


def test_one_to_come_is_refused_and_stays(unpacked, like):
    workdir = unpacked(loading.CHECKPOINT_FORMAT)
    file = workdir / "checkpoints" / "20" / "config" / "metadata"
    newer = loading.CHECKPOINT_FORMAT + 1
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": newer}))
    message = rf"checkpoints/20 has format {newer}, .* up to {newer - 1}: use the version that"
    with pytest.raises(WrongInput, match=message):
        restore(workdir, like)
    assert file.exists() and not (workdir / "damaged").exists()
