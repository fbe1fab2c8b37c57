"""How images are prepared for networks with published weights."""

from typing import NamedTuple

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


class Input(NamedTuple):
    """How images are prepared for a network: the short side is resized to size / crop, and a
    square of that size is cut out of the middle.

    Attributes:
      size: height and width, pixels, at which it was trained.
      crop: the share of the resized short side that the square keeps.
      interpolation: "bilinear" or "bicubic".
      test_size: a larger size at which it does better; None: there is none.
      test_crop: the share at that size; None: the same.
      mean, std: per channel, of values from 0 to 1.
      crop_mode: "center", or "squash": both sides are resized to size / crop, whatever their ratio.
    """

    size: int
    crop: float
    interpolation: str
    test_size: int | None = None
    test_crop: float | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_mode: str = "center"

    def halved(self) -> "Input":
        """The same for a network that takes values from -1 to 1."""
        return self._replace(mean=HALF, std=HALF)


class Pretrained(NamedTuple):
    """What is known about published weights.

    Attributes:
      input: how their images are prepared.
      num_classes: of their classifier; 0: they have none.
      top1, test_top1: accuracy on ImageNet-1k's validation images in per cent, at `input.size` and
        at `input.test_size`; None: not known here.
    """

    input: Input
    num_classes: int = 1000
    top1: float | None = None
    test_top1: float | None = None


def tags(num_classes: int = 1000, /, **inputs: Input) -> dict[str, Pretrained]:
    """Published weights by tag, of which the inputs alone are known."""
    return {tag: Pretrained(images, num_classes) for tag, images in inputs.items()}


BICUBIC = Input(224, 0.875, "bicubic")
BILINEAR = Input(224, 0.875, "bilinear")
CIFAR10 = Input(32, 1.0, "bicubic", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
# of the Caffe release: 0..255, minus 104, 117, 123 of blue, green, red, not divided; 224 pixels of
# a short side of 256. It does not say how it resizes: bilinear is OpenCV's default
CAFFE = Input(
    224, 0.875, "bilinear", mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255, 1 / 255, 1 / 255)
)
