"""CIFAR-10 and CIFAR-100 as a TFDS builder, from their official archives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.data.cifar_files import Official, load
from train.data.divide import stratified
from train.data.images import Contents, to_png


@dataclass(frozen=True)
class Plan:
    """Where a data set is, and how its training images are divided.

    Attributes:
      official: which data set, and what it must hold.
      source: see `cifar_files.load`.
      fraction: of the training images, taken for validation; 0 for no such split.
      seed: which ones these are.
    """

    official: Official
    source: Path
    fraction: float
    seed: int

    def key(self) -> str:
        """Another one for another division. Not for another source: all have the same images."""
        return f"cifar{self.official.classes}-validation-{self.fraction}-seed-{self.seed}"


class Cifar(tfds.core.GeneratorBasedBuilder):
    """Images of CIFAR: "image" uint8 [32, 32, 3], "label", "id", its place in the archive."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The official images, as PNG."}  # noqa: RUF012

    def __init__(self, plan: Plan, **options: Any):
        self.plan = plan  # first: the base class asks for the features
        super().__init__(**options)

    def __getstate__(self) -> dict[str, Any]:  # of the base class, with the plan: for workers
        return super().__getstate__() | {"plan": self.plan}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Cifar.__init__(self, state["plan"], **state["_original_state"])

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"CIFAR-{self.plan.official.classes}.",
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=self.plan.official.classes),
                    "id": np.int32,
                }
            ),
            supervised_keys=("image", "label"),
            # Of the training images' values, scaled to 0..1, and what each split holds; filled in
            # when the data are prepared.
            metadata=tfds.core.MetadataDict({"mean": [], "std": [], "digest": {}}),
        )

    def _split_generators(self, dl_manager):
        cifar = load(self.plan.official, self.plan.source)
        self.info.features["label"].names = cifar.class_names
        splits = {split: np.arange(len(labels)) for split, (_, labels) in cifar.splits.items()}
        if self.plan.fraction:
            _, labels = cifar.splits["train"]
            chosen = stratified(labels, self.plan.fraction, self.plan.seed)
            splits |= {"train": np.flatnonzero(~chosen), "validation": np.flatnonzero(chosen)}
        return {
            split: self._generate_examples(
                split, ids, *cifar.splits["test" if split == "test" else "train"]
            )
            for split, ids in splits.items()
        }

    def _generate_examples(self, split, ids, images, labels):
        contents = Contents()
        for i in ids.tolist():
            contents.add(i, images[i], int(labels[i]))
            yield i, {"image": to_png(images[i]), "label": int(labels[i]), "id": i}
        metadata = self.info.metadata
        metadata["digest"] = {**metadata["digest"], split: contents.digest()}
        if split == "train":
            metadata["mean"], metadata["std"] = contents.mean_and_std()
