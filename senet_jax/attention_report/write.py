"""What the report holds: everything is found in a few passes over the images, however many."""

import csv
import errno
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.attention import (
    OddImage,
    ablation_curves,
    accuracy_with_mean_gates,
    attention_weights,
    between_class_share,
    changeable_blocks,
    class_statistics,
    effective_channels,
    gated_features,
    grad_cam,
    odd_images,
    saturation,
)
from senet_jax.attention.statistics import Statistics
from senet_jax.attention_report.page import Picture, Table, page
from senet_jax.plotting import (
    plot_ablation,
    plot_attention_by_class,
    plot_gate_heatmap,
    plot_gate_histograms,
    plot_image,
    plot_role_of_excitation,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, TABLE = "index.html", "statistics.csv"
EFFECT_BATCHES = 8  # for accuracies with other gates: some thirty runs of the network each
ODD, SHOWN = 12, 3  # images in the table, and drawn
PANELS = 9  # blocks in a figure of panels

Batch = tuple[Any, ...]  # images, labels, mask


class Subject(NamedTuple):
    """What is looked at.

    Attributes:
      model, variables: the network.
      batches: called with a word on what is done, returns the same batches (images, labels, mask)
        in the same order each time.
      class_names: of the labels.
      output_names: of the network's classes; they are the labels' if `judged`.
      judged: whether the labels are the network's classes, so that there are accuracies.
      name_of: an image's name by its number among the images.
    """

    model: nn.Module
    variables: Mapping[str, Any]
    batches: Callable[[str], Iterable[Batch]]
    class_names: Sequence[str]
    output_names: Sequence[str]
    judged: bool
    name_of: Callable[[int], str]


def write_report(
    out: Path, subject: Subject, about: Mapping[str, str], classes: Sequence[int] | None = None
) -> None:
    """Writes index.html, statistics.csv and a PNG for each figure.

    Args:
      out: a folder, made if it is not there.
      subject: the network and its images.
      about: what the page says on top, e.g. {"weights": "runs/digits"}.
      classes: drawn against all, up to six; None: up to four.

    Raises:
      ValueError: the network has no attention, or there are no images.
      OSError: `out` cannot be made or written to.
      ImportError: matplotlib is not installed.
    """
    _prepare(out)
    statistics = class_statistics(
        subject.model, subject.variables, subject.batches("statistics"), len(subject.class_names)
    )
    if not statistics:
        raise ValueError("This network has no channel attention: there is nothing to report.")
    figures = _figures(statistics, subject.class_names, classes)
    sections: list[Picture | Table] = [_blocks(statistics)]
    _write_table(out / TABLE, statistics, subject.class_names)
    for name, (title, text, figure) in figures.items():
        sections.append(_saved(out / f"{name}.png", title, text, figure))
    if subject.judged:
        sections += _effects(out, subject, statistics)
    if len(subject.class_names) > 1:
        # a class's only image defines its profile, and cannot be odd
        odd = odd_images(
            subject.model, subject.variables, subject.batches("odd images"), statistics, ODD
        )
        sections.append(_odd(odd, subject))
        numbers = [image.number for image in odd[:SHOWN]]
    else:
        numbers = list(range(SHOWN))
    sections += _single_images(out, subject, statistics, numbers)
    images = int(next(iter(statistics.values())).count.sum())
    facts = {**about, "images": f"{images:,}", "classes": f"{len(subject.class_names):,}"}
    text = page("What the channel attention does", facts, sections)
    (out / PAGE).write_text(text, encoding="utf-8")


def _prepare(out: Path) -> None:
    """Makes the folder. A pass over the images would be lost if this failed after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The report's figures need matplotlib: pip install 'senet_jax[plot]'."
        ) from error
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OSError(
            f"The report cannot be written to {out} ({error.strerror}): give another folder."
        ) from error


def _figures(
    statistics: Statistics, names: Sequence[str], classes: Sequence[int] | None
) -> dict[str, tuple[str, str, "Figure"]]:
    some = _some(statistics)
    figures = {
        "role_of_excitation": (
            "The role of excitation",
            "Mean gate by channel of some classes against all images, with a band of one standard"
            " deviation within the class. Where the lines coincide, the block treats all classes"
            " alike.",
            plot_role_of_excitation(some, names, classes),
        ),
        "heatmap": (
            "Gates by block and channel",
            "Mean gates over all images, sorted within each block.",
            plot_gate_heatmap(statistics),
        ),
        "histograms": (
            "Gates by depth",
            "How the channels' mean gates are distributed, and how many gates are saturated.",
            plot_gate_histograms(statistics),
        ),
    }
    if len(names) > 1:
        means = {path: block.known_mean for path, block in some.items()}
        figures["by_class"] = (
            "Which classes open which channels",
            "Mean gate of each class minus the mean over classes.",
            plot_attention_by_class(means, names),
        )
    return figures


def _some(statistics: Statistics) -> Statistics:
    """As many blocks as a figure has panels for: evenly spaced, with the first and the last."""
    if len(statistics) <= PANELS:
        return statistics
    paths = list(statistics)
    places = np.linspace(0, len(paths) - 1, PANELS).round().astype(int)
    return {paths[i]: statistics[paths[i]] for i in places}


def _blocks(statistics: Statistics) -> Table:
    rows = []
    for path, block in statistics.items():
        mean = np.asarray(block.over_classes().mean)[0]
        shut, wide = saturation(block)
        effective = float(effective_channels(mean))
        share = between_class_share(block)
        rows.append((path, len(mean), float(mean.mean()), effective, share, shut, wide))
    return Table(
        "Blocks",
        "Effective channels: how many equally open ones would let through as much. Between classes:"
        " the share of the gates' variance that the class explains. Shut and open: shares of gates"
        " below 0.05 and above 0.95.",
        ("block", "channels", "mean", "effective", "between classes", "shut", "open"),
        rows,
    )


def _effects(out: Path, subject: Subject, statistics: Statistics) -> list[Picture | Table]:
    """Accuracies with other gates, on the first batches."""

    def some(what):
        return islice(subject.batches(what), EFFECT_BATCHES)

    model, variables = subject.model, subject.variables
    try:
        images = next(iter(some("shapes")))[0]
        changeable_blocks(model, variables, images)
    except ValueError:
        return []  # gates of other kinds, which cannot be changed
    curves = ablation_curves(model, variables, some("ablation"))
    usual, frozen = accuracy_with_mean_gates(model, variables, some("mean gates"), statistics)
    rows = [(path, 100 * accuracy, 100 * (accuracy - usual)) for path, accuracy in frozen.items()]
    return [
        _saved(
            out / "ablation.png",
            "Do the gates mean anything?",
            "Accuracy while channels are shut in every block, by each image's gates and at"
            f" random; on the first {EFFECT_BATCHES} batches of images at most.",
            plot_ablation(curves),
        ),
        Table(
            "One block's gates replaced by their mean",
            f"Accuracy in %, {100 * usual:.2f} with all gates as they are; the same images. Where"
            " nothing is lost, constants would do.",
            ("block", "accuracy", "change"),
            rows,
        ),
    ]


def _odd(odd: Sequence[OddImage], subject: Subject) -> Table:
    rows = [
        (subject.name_of(image.number), subject.class_names[image.label], image.deviation)
        for image in odd
    ]
    return Table(
        "Odd images",
        "Those whose gates are farthest from their class's, in standard deviations; likely"
        " mislabelled or unusual.",
        ("image", "class", "deviation"),
        rows,
    )


def _single_images(
    out: Path, subject: Subject, statistics: Statistics, numbers: Sequence[int]
) -> list[Picture | Table]:
    model, variables = subject.model, subject.variables
    found = _chosen(subject.batches("single images"), numbers)
    if not found or not subject.output_names:
        return []
    try:
        known = changeable_blocks(model, variables, next(iter(found.values())))
    except ValueError:
        return []
    block = [path for path in statistics if path in known][-1]
    logits_of = jax.jit(lambda images: model.apply(variables, images, train=False))
    drawn: list[Picture | Table] = []
    for place, number in enumerate(n for n in numbers if n in found):
        images = found[number]
        logits: Any = logits_of(images)
        probabilities = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)))[0]
        where = grad_cam(model, variables, images, jnp.array([probabilities.argmax()]))
        figure = plot_image(
            np.asarray(images[0]),
            probabilities,
            subject.output_names,
            np.asarray(attention_weights(model, variables, images)[block])[0],
            np.asarray(gated_features(model, variables, images, block))[0],
            np.asarray(where)[0],
            block=block,
        )
        text = "The image, what it is taken for, where, and through which channels."
        name = out / f"image_{place + 1}.png"
        drawn.append(_saved(name, subject.name_of(number), text, figure))
    return drawn


def _chosen(batches: Iterable[Batch], numbers: Sequence[int]) -> dict[int, jax.Array]:
    """Images `[1, H, W, C]` by their number; reads no further than the last one."""
    found: dict[int, jax.Array] = {}
    start = 0
    for images, _, mask in batches:
        here = np.asarray(images)[np.asarray(mask) > 0]
        found |= {
            n: jnp.asarray(here[n - start, None]) for n in numbers if 0 <= n - start < len(here)
        }
        start += len(here)
        if start > max(numbers):
            break
    return found


def _write_table(file: Path, statistics: Statistics, names: Sequence[str]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("block", "channel", "class", "images", "mean", "std", "shut", "open"))
        for path, block in statistics.items():
            std = np.asarray(block.std)
            for c in map(int, np.flatnonzero(block.count)):
                for channel in range(block.mean.shape[1]):
                    values = (x[c, channel] for x in (block.mean, std, block.shut, block.open))
                    row = (path, channel, names[c], int(block.count[c]))
                    writer.writerow((*row, *(f"{value:.6g}" for value in values)))


def _saved(file: Path, title: str, text: str, figure: "Figure") -> Picture:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    file.write_bytes(stream.getvalue())
    return Picture(title, text, stream.getvalue())
