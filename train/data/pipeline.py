"""From examples to batches: the batch of step k is a function of (seed, k) and of nothing else.

Examples are numbered through all epochs, i = k * batch_size + position; example i is the one that
epoch i // n has put at place i % n. So batches run across the borders of epochs, nothing is left
over, and the step is the whole position in the data: there is no iterator state to save. Any number
of processes cuts the same global batch into slices, and memory, threads and worker processes are
only different ways of asking for `batches[k]`.
"""

import contextlib
import functools
import io
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from train.data.example import image_and_label
from train.errors import WrongInput

Batch = dict[str, np.ndarray]

# An element that Grain reads is a whole batch, and its default would hold 500 of them in memory.
READ_AHEAD = 16  # batches, and threads that read them, over all workers


class Examples(Protocol):
    """A split of a data set: images of one shape, with labels."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C), of all of them."""
        ...

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Examples by their numbers [b]: uint8 [b, H, W, C] and int32 [b]."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """Examples decoded once: images uint8 [n, H, W, C], labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True, eq=False)
class Records:
    """Examples read and decoded when asked for.

    `source` has stored examples by their number, see `example.raw_source`.
    """

    source: Any
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.source)

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        records = self.source.__getitems__(indices.tolist()) if len(indices) else []
        images = np.empty((len(records), *self.image_shape), np.uint8)
        labels = np.empty(len(records), np.int32)
        for i, record in enumerate(records):
            encoded, labels[i] = image_and_label(record)
            images[i] = self._decoded(indices[i], encoded)
        return images, labels

    def _decoded(self, index: int, encoded: bytes) -> np.ndarray:
        try:
            return decode(encoded, self.image_shape)
        except Exception as error:  # Pillow raises many kinds for damaged files
            place = f"{self.source.split}/{index} in {self.source.dataset_info.data_dir}"
            raise WrongInput(
                f"Image {place} cannot be read ({type(error).__name__}: {error}): what was prepared"
                " is damaged. Delete that folder, and the next run prepares it anew."
            ) from error


def decode(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """An encoded image (PNG, JPEG, ...) as uint8 `shape` [H, W, C], grey for C = 1, else RGB.

    Raises:
      ValueError: the image has another height or width.
    """
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"))
    if pixels.shape[:2] != shape[:2]:
        raise ValueError(
            f"An image is {pixels.shape[0]}x{pixels.shape[1]} pixels, but its data set says"
            f" {shape[0]}x{shape[1]}: prepare the data set again with images of one size."
        )
    return pixels.reshape(shape)


@functools.lru_cache(maxsize=4)  # a batch touches two epochs; several threads may be at a border
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch visits `size` examples: a permutation, int64 [size].

    Made from a bit generator's raw output, which NumPy promises never to change; the methods of its
    Generator carry no such promise, and a run may be resumed with another NumPy.
    """
    bits = np.random.Philox(np.random.SeedSequence((seed, epoch))).random_raw(size)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False  # the cache hands the same array to every caller
    return order


def training_examples(seed: int, numbers: np.ndarray, size: int) -> np.ndarray:
    """Which examples the running numbers i [b] stand for, int64 [b], with 0 <= result < size."""
    epochs, places = np.divmod(numbers, size)
    examples = np.empty_like(numbers)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        examples[here] = epoch_order(seed, int(epoch), size)[places[here]]
    return examples


@dataclass(frozen=True, eq=False)
class Batches:
    """What training and evaluation share: which part of each global batch is this process's."""

    examples: Examples
    batch_size: int  # the global one
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.process_count:
            raise ValueError(
                f"The batch size is {self.batch_size}, expected a positive multiple of"
                f" {self.process_count}, the number of processes."
            )

    def positions(self) -> np.ndarray:
        """Indices inside the global batch, int64 [b]: consecutive, as a sharded array wants it."""
        local = self.batch_size // self.process_count
        return np.arange(local, dtype=np.int64) + self.process_index * local


@dataclass(frozen=True, eq=False)
class TrainingBatches(Batches):
    """batches[k], k = 0, 1, ...: {"image": uint8 [b, H, W, C], "label", "position": int32 [b]}.

    Attributes:
      repeats: how often each image is in its batch, a divisor of its size (arXiv 1901.09335). The
        copies lie far apart: on different devices, and not beside each other, where images are
        mixed.
    """

    seed: int = 0
    repeats: int = 1

    def __len__(self) -> int:
        return sys.maxsize  # endless, as far as Grain can count

    def __getitem__(self, step: int) -> Batch:
        positions = self.positions()
        images_in_it = self.batch_size // self.repeats
        numbers = step * images_in_it + positions % images_in_it
        indices = training_examples(self.seed, numbers, len(self.examples))
        images, labels = self.examples.gather(indices)
        return {"image": images, "label": labels, "position": positions.astype(np.int32)}


@dataclass(frozen=True, eq=False)
class EvaluationBatches(Batches):
    """Each example once, in order: {"image", "label", "mask": float32 [b], 0 for padding}.

    All batches have the same shape and all processes the same number of batches, so that a compiled
    step over several processes fits each of them; what is missing in the last one is zeros.
    """

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        numbers = step * self.batch_size + self.positions()
        valid = numbers < len(self.examples)
        images, labels = self.examples.gather(numbers[valid])
        padding = len(numbers) - len(labels)  # only ever at the end
        return {
            "image": np.pad(images, [(0, padding), (0, 0), (0, 0), (0, 0)]),
            "label": np.pad(labels, (0, padding)),
            "mask": valid.astype(np.float32),
        }


def read(
    batches: TrainingBatches | EvaluationBatches, start: int, *, ahead: bool, workers: int = 0
) -> Generator[Batch, None, None]:
    """Yields batches[start], batches[start + 1], ... to the end.

    Args:
      ahead: read by Grain, in threads that run ahead; else when asked for, which is as fast for
        examples in memory.
      workers: processes that share the reading; 0 for threads in this one. Batches are the same.

    Raises:
      WrongInput: one of these processes has died, or what was prepared is damaged.
    """
    if not ahead:
        yield from map(batches.__getitem__, range(start, len(batches)))
        return
    with contextlib.closing(_grain_iterator(batches, start, workers)) as iterator, _deaths_told():
        yield from iterator


@contextlib.contextmanager
def _deaths_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not (death := re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))):
            raise
        code = int(death[1])
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise WrongInput(
            f"A process that reads images has died ({how}); SIGKILL often means that there was too"
            " little memory. Give fewer (--config.data.workers), or smaller batches; the same"
            " command goes on from the last checkpoint."
        ) from error


def _grain_iterator(batches: TrainingBatches | EvaluationBatches, start: int, workers: int) -> Any:
    import grain
    from absl import flags

    ahead = max(1, READ_AHEAD // max(1, workers))
    options = grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)
    dataset = grain.MapDataset.source(batches)[start:].to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain reads absl flags; tests and notebooks parse none
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_start_worker
        )
    return iter(dataset)


def _start_worker(index: int, count: int) -> None:
    """A worker holds no accelerator, leaves Ctrl-C to its parent, and doesn't outlive it."""
    if jax := sys.modules.get("jax"):  # nothing here imports it, but Grain does, for its profiler
        jax.config.update("jax_platforms", "cpu")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
