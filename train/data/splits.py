"""What every kind of data set comes to, before it is cut into batches."""

from dataclasses import dataclass, field

from train.data.pipeline import Examples


@dataclass(frozen=True, eq=False)
class Splits:
    """The splits of a data set.

    Attributes:
      examples: "train", and "validation" or "test" or both.
      image_shape: (H, W, C) of what a model sees.
      mean, std: of the training images, per channel, of values scaled to 0..1.
      digest: another text for other images.
      skipped: a sentence for each file that was left out.
    """

    examples: dict[str, Examples]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str | None
    skipped: tuple[str, ...] = field(default=())
