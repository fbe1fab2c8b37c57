"""The handwritten digits inside scikit-learn, as a TFDS builder: nothing is downloaded.

1,797 grey images of 8x8 pixels in 17 levels, ten classes (the test part of UCI's "Optical
recognition of handwritten digits"). The splits are ours, fixed and stratified.
"""

import numpy as np
import tensorflow_datasets as tfds

from train.data.images import to_png

SPLIT_SEED = 0
LEVELS = 16  # scikit-learn's values are 0..16


class Digits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits: "image" uint8 [8, 8, 1], "label", "id", its place in scikit-learn."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The images of scikit-learn; a fifth for the test."}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        # Not dataset_info_from_configs: it looks for files beside the class.
        return tfds.core.DatasetInfo(
            builder=self,
            description="The handwritten digits of scikit-learn.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "id": np.int32,
                }
            ),
            supervised_keys=("image", "label"),
            # Of the training images' values, scaled to 0..1; filled in when the data are prepared.
            metadata=tfds.core.MetadataDict({"mean": [], "std": []}),
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = to_bytes(digits.images)
        splits = stratified_splits(digits.target)
        train = images[splits["train"]] / 255
        self.info.metadata["mean"] = [float(train.mean())]
        self.info.metadata["std"] = [float(train.std())]
        return {
            name: self._generate_examples(images, digits.target, ids)
            for name, ids in splits.items()
        }

    def _generate_examples(self, images, labels, ids):
        for i in ids.tolist():
            yield i, {"image": to_png(images[i]), "label": int(labels[i]), "id": i}


def to_bytes(values: np.ndarray) -> np.ndarray:
    """scikit-learn's 0..16 spread over 0..255, uint8. Nothing is lost: `to_levels` undoes it."""
    return np.round(values * (255 / LEVELS)).astype(np.uint8)


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """The values 0..16 that `to_bytes` was given, as scikit-learn's float64."""
    return np.round(pixels * (LEVELS / 255))


def stratified_splits(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of the splits: a fifth for the test, a tenth of the rest for validation.

    Examples are lined up by class, in random order inside each, and every fifth is taken, then
    every tenth of what remains: so each split gets its share of each class, to within one example.
    """
    # The raw output of a bit generator, which no release of NumPy changes.
    draw = np.random.Philox(np.random.SeedSequence(SPLIT_SEED)).random_raw(len(labels))
    line = np.lexsort((draw, labels))
    is_test = np.arange(len(line)) % 5 == 0
    rest = line[~is_test]
    is_validation = np.arange(len(rest)) % 10 == 0
    return {
        "train": np.sort(rest[~is_validation]),
        "validation": np.sort(rest[is_validation]),
        "test": np.sort(line[is_test]),
    }
