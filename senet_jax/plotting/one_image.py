"""One image: what the network takes it for, where, and through which channels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from senet_jax.plotting.palette import COLOURS, bare, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shape = tuple[int, ...]

EXTREMES = 4  # channels most and least excited


def plot_image(
    image: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    gates: np.ndarray,
    features: np.ndarray,
    where: np.ndarray,
    *,
    block: str = "",
) -> "Figure":
    """An image, its five likeliest classes, Grad-CAM, and the feature maps of the channels that one
    block opens widest and shuts furthest.

    Args:
      image: `[H, W]` or `[H, W, 1 or 3]`, of any range: shown from its least to its largest value.
      probabilities: `[classes]`.
      class_names: one for each class.
      gates: `[C]`, of the block.
      features: `[h, w, C]`, of the block.
      where: `[h', w']`, from `senet_jax.attention.grad_cam`.
      block: its path, for the title.

    Raises:
      ValueError: shapes do not fit.
    """
    from matplotlib.figure import Figure

    _check(np.shape(image), np.shape(gates), np.shape(features), np.shape(where))
    if np.shape(probabilities) != (len(class_names),) or not len(class_names):
        raise ValueError(
            f"probabilities has shape {np.shape(probabilities)}, expected [classes] with"
            f" {len(class_names) or 'some'} of them, as there are names."
        )
    order = np.argsort(-np.asarray(gates), kind="stable")
    count = min(EXTREMES, max(1, len(order) // 2))
    widest, shut = order[:count], order[len(order) - count :] if len(order) > 1 else order[:0]

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.3), height_ratios=(1, 1))
    upper = grid[0, 0].subgridspec(1, 2)
    shown = unit(image)
    first, second = (figure.add_subplot(upper[0, i]) for i in range(2))
    _picture(first, shown, "image")
    _picture(second, shown, "Grad-CAM of the likeliest class")
    height, width = shown.shape[:2]
    second.imshow(
        where, cmap="inferno", vmin=0, vmax=1, alpha=0.6, interpolation="bilinear",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )  # fmt: skip
    _likeliest(figure.add_subplot(grid[1, 0]), probabilities, class_names)
    for row, (channels, title) in enumerate(((widest, "most excited"), (shut, "least excited"))):
        cells = grid[row, 1].subgridspec(1, count)
        for i, channel in enumerate(channels):
            panel = figure.add_subplot(cells[0, i])
            said = f"{title}\n" if i == 0 else "\n"
            said += f"#{channel}: {gates[channel]:.2f}"
            _picture(panel, unit(features[..., channel]), said, "cividis")
    figure.suptitle(f"Feature maps and gates of {block}" if block else "", fontsize=10)
    return figure


def _check(image: Shape, gates: Shape, features: Shape, where: Shape) -> None:
    if len(image) not in (2, 3) or image[2:] not in ((), (1,), (3,)):
        raise ValueError(
            f"image has shape {image}, expected [H, W] or [H, W, 1 or 3]: one image, images[0]."
        )
    if len(features) != 3 or features[-1:] != gates or not gates[0]:
        raise ValueError(
            f"gates has shape {gates} and features {features}, expected [C] and [h, w, C]: one"
            " image's, gates[0] and features[0]."
        )
    if len(where) != 2:
        raise ValueError(f"where has shape {where}, expected [h, w]: one image's, maps[0].")


def unit(values: np.ndarray) -> np.ndarray:
    """From 0, the least value, to 1, the largest; 0.5 where all are the same."""
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)


def _picture(panel: "Axes", values: np.ndarray, title: str, colours: str = "gray") -> None:
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] != 3 else values
    panel.imshow(values, cmap=colours, vmin=0, vmax=1)
    panel.set_title(title, fontsize=7, loc="left", pad=3)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)


def _likeliest(panel: "Axes", probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    best = np.argsort(-np.asarray(probabilities), kind="stable")[:5]
    panel.barh(range(len(best)), 100 * np.asarray(probabilities)[best], color=COLOURS[0])
    panel.set_yticks(
        range(len(best)), [literal(str(class_names[c])[:24]) for c in best], fontsize=8
    )
    panel.set_ylim(len(best) - 0.4, -0.6)
    panel.set_xlim(0, 100)
    panel.set_xlabel("probability, %", fontsize=8)
    bare(panel)
