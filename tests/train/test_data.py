"""The batch of step k is a function of (seed, k): whoever reads it, however, and from where on."""

import contextlib
import io
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from configs.digits import get_config
from train.data import make_data
from train.data.pipeline import (
    EvaluationBatches,
    InMemory,
    Records,
    TrainingBatches,
    decode,
    epoch_order,
    read,
)
from train.errors import WrongInput

CHECKOUT = Path(__file__).parents[2]


def numbered(size: int) -> InMemory:
    """Examples whose label says which one it is, and whose one pixel says the same modulo 256."""
    labels = np.arange(size, dtype=np.int32)
    return InMemory((labels % 256).astype(np.uint8).reshape(size, 1, 1, 1), labels)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A config of the digits, prepared in a directory of these tests."""
    config = get_config()
    config.data.dir = str(tmp_path_factory.mktemp("data"))
    config.data.batch_size = 96  # 1,293 images: the epoch ends inside a batch
    config.evaluation.batch_size = 100
    make_data(config)
    return config


def same(batch, other) -> bool:
    return batch.keys() == other.keys() and all(
        batch[name].dtype == other[name].dtype and np.array_equal(batch[name], other[name])
        for name in batch
    )


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6), size=st.integers(1, 300))
def test_an_epoch_visits_every_example_once(seed, epoch, size):
    assert sorted(epoch_order(seed, epoch, size)) == list(range(size))


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    orders = {tuple(epoch_order(seed, epoch, 50)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_does_not_change_between_releases():
    """Written down once: a run that is resumed years later, with another NumPy, relies on it."""
    assert epoch_order(0, 0, 12).tolist() == [0, 8, 9, 3, 7, 5, 1, 11, 2, 10, 6, 4]
    assert epoch_order(1, 3, 12).tolist() == [11, 7, 5, 2, 1, 6, 10, 4, 3, 9, 0, 8]


@given(
    size=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    start=st.integers(0, 30),
    seed=st.integers(0, 9),
)
def test_batches_run_across_epochs_without_a_gap(size, batch_size, start, seed):
    batches = TrainingBatches(numbered(size), batch_size, seed=seed)
    seen = np.concatenate([batches[k]["label"] for k in range(start, start + 5)])

    first, last = start * batch_size, (start + 5) * batch_size
    epochs = range(first // size, last // size + 1)
    stream = np.concatenate([epoch_order(seed, epoch, size) for epoch in epochs])
    skipped = first - epochs[0] * size
    assert seen.tolist() == stream[skipped : skipped + len(seen)].tolist()


@given(
    size=st.integers(1, 40),
    local=st.integers(1, 9),
    processes=st.integers(1, 5),
    step=st.integers(0, 10**7),
)
def test_any_number_of_processes_cuts_up_the_same_global_batch(size, local, processes, step):
    examples, batch_size = numbered(size), local * processes
    whole = TrainingBatches(examples, batch_size)[step]
    slices = [TrainingBatches(examples, batch_size, i, processes)[step] for i in range(processes)]
    assert same(whole, {name: np.concatenate([s[name] for s in slices]) for name in whole})
    assert whole["position"].tolist() == list(range(batch_size))


@given(size=st.integers(1, 60), local=st.integers(1, 20), processes=st.integers(1, 4))
def test_evaluation_sees_every_example_once_in_batches_of_one_shape(size, local, processes):
    shares = [
        list(
            read(EvaluationBatches(numbered(size), local * processes, i, processes), 0, ahead=False)
        )
        for i in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1
    seen = []
    for batch in itertools.chain(*shares):
        assert batch["image"].shape == (local, 1, 1, 1)
        assert batch["label"].shape == batch["mask"].shape == (local,)
        assert (batch["image"].dtype, batch["label"].dtype, batch["mask"].dtype) == (
            np.uint8,
            np.int32,
            np.float32,
        )
        seen += batch["label"][batch["mask"] == 1].tolist()
        assert not batch["label"][batch["mask"] == 0].any()
    assert sorted(seen) == list(range(size))


def test_a_batch_that_does_not_fit_the_processes_is_refused():
    with pytest.raises(
        ValueError, match="is 9, expected a positive multiple of 2, the number of pr"
    ):
        TrainingBatches(numbered(20), 9, 0, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_threads_and_processes_give_the_same_batches(digits, workers):
    from_memory = make_data(digits)
    config = digits.copy_and_resolve_references()
    config.data.in_memory = False
    config.data.workers = workers
    from_records = make_data(config)

    start, count = 10, 7  # over the end of the first epoch, in step 13
    with (
        contextlib.closing(from_memory.train(start)) as left,
        contextlib.closing(from_records.train(start)) as right,
    ):
        for (k, batch), (same_k, other), expected in zip(
            left, right, range(start, start + count), strict=False
        ):
            assert k == same_k == expected
            assert same(batch, other)
    assert not multiprocessing.active_children()
    if not workers:
        for batches, others in (
            (from_memory.validation(), from_records.validation()),
            (from_memory.test(), from_records.test()),
        ):
            assert all(same(b, o) for b, o in zip(batches, others, strict=True))


def test_starting_at_a_step_is_going_on_from_there(digits):
    data = make_data(digits)
    whole = list(itertools.islice(data.train(), 20))
    for start in (1, 13, 19):
        rest = list(itertools.islice(data.train(start), 20 - start))
        assert all(
            k == j and same(b, o) for (k, b), (j, o) in zip(whole[start:], rest, strict=True)
        )


def test_the_digits_are_what_the_config_asks_for(digits):
    data = make_data(digits)
    assert data.class_names == tuple("0123456789")
    assert data.num_classes == 10
    assert data.image_shape == (8, 8, 1)
    assert (data.train_size, data.validation_size, data.test_size) == (1293, 144, 360)
    assert data.steps_per_epoch == 13  # 1293 / 96 = 13.47
    _, batch = next(data.train())
    assert batch["image"].shape == (96, 8, 8, 1)
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "image": "uint8",
        "label": "int32",
        "position": "int32",
    }


def test_an_unknown_data_set_is_refused_with_the_nearest_name(digits):
    config = digits.copy_and_resolve_references()
    config.data.name = "digit"
    with pytest.raises(ValueError, match=r"Unknown data set 'digit'\. Did you mean 'digits'"):
        make_data(config)


class Witness(InMemory):
    """Labels tell what the process that gathers them has done with JAX."""

    def gather(self, indices):
        jax = sys.modules.get("jax")
        started = jax is not None and jax._src.xla_bridge.backends_are_initialized()
        off_accelerators = jax is None or jax.config.jax_platforms == "cpu"
        images, _ = super().gather(indices)
        return images, np.array([os.getpid(), started, off_accelerators], np.int32)


def test_a_worker_is_another_process_and_starts_no_jax_backend(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "")  # as where there is an accelerator to be taken
    plain = numbered(3)
    batches = TrainingBatches(Witness(plain.images, plain.labels), 3)
    with contextlib.closing(read(batches, 0, ahead=True, workers=1)) as reading:
        pid, started, off_accelerators = next(reading)["label"]
    assert pid != os.getpid()
    assert not started
    assert off_accelerators


class Dies(InMemory):
    """As a process dies that the system kills for its memory."""

    def gather(self, indices):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_death_of_a_worker_is_told_in_a_sentence():
    plain = numbered(3)
    batches = TrainingBatches(Dies(plain.images, plain.labels), 3)
    reading = read(batches, 0, ahead=True, workers=1)
    with contextlib.closing(reading), pytest.raises(WrongInput) as caught:
        next(reading)
    assert str(caught.value).startswith(
        "A process that reads images has died (killed by SIGKILL); SIGKILL often means that there"
        " was too little memory. Give fewer (--config.data.workers), or smaller batches;"
    )


class Damaged:
    """A data source of which a record is no image any more."""

    split, dataset_info = "train", SimpleNamespace(data_dir="data/set/1.0.0")

    def __getitems__(self, keys):
        png = encoded(Image.new("L", (4, 4)), "PNG")
        return [self.record(png[:40] if key == 7 else png) for key in keys]

    def record(self, image):
        example = tf_example_pb2.Example()
        example.features.feature["image"].bytes_list.value.append(image)
        example.features.feature["label"].int64_list.value.append(0)
        return example.SerializeToString()


def test_a_stored_image_that_is_damaged_is_named_with_its_folder():
    records = Records(Damaged(), (4, 4, 1))
    assert records.gather(np.array([3, 5]))[0].shape == (2, 4, 4, 1)
    with pytest.raises(WrongInput) as caught:
        records.gather(np.array([3, 7]))
    said = str(caught.value)
    assert said.startswith("Image train/7 in data/set/1.0.0 cannot be read (")
    assert said.endswith("Delete that folder, and the next run prepares it anew.")


def test_workers_end_with_a_parent_that_is_killed(digits, tmp_path):
    program = f"""
import multiprocessing, os, signal
from configs.digits import get_config
from train.data import make_data

if __name__ == "__main__":
    config = get_config()
    config.data.update(dir={digits.data.dir!r}, in_memory=False, workers=1)
    batches = make_data(config).train()
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "script.py"  # spawned workers import the main module: it must be a file
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
    assert process.returncode == -signal.SIGKILL
    assert pids
    for _ in range(300):
        if not any(map(is_running, pids)):
            return
        time.sleep(0.1)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    pytest.fail("workers were still there half a minute later")


def is_running(pid: int) -> bool:
    """Not so of a process that has ended but that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()


def test_images_of_every_mode_are_decoded_to_the_channels_asked_for():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    image = Image.fromarray(rgb)
    assert np.array_equal(decode(encoded(image, "PNG"), (5, 4, 3)), rgb)
    opaque = image.convert("RGBA")
    assert np.array_equal(decode(encoded(opaque, "PNG"), (5, 4, 3)), rgb)
    grey = image.convert("L")
    assert np.array_equal(decode(encoded(grey, "PNG"), (5, 4, 1))[..., 0], np.asarray(grey))
    assert np.array_equal(
        decode(encoded(grey, "PNG"), (5, 4, 3)), np.dstack([np.asarray(grey)] * 3)
    )
    palette = image.convert("P")
    restored = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode(encoded(palette, "PNG"), (5, 4, 3)), restored)
    assert decode(encoded(image.convert("CMYK"), "JPEG"), (5, 4, 3)).shape == (5, 4, 3)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="is 4x6 pixels, but its data set says 8x8"):
        decode(encoded(Image.new("L", (6, 4)), "PNG"), (8, 8, 1))
