"""What came out of a sweep: a row for each variant, as Markdown and as CSV."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from senet_jax import loading
from senet_jax.models import create_model
from senet_jax.summary import count_parameters, multiply_adds
from train.workdir import read_result

NOISE = 2  # standard errors of a difference
COLUMNS = (
    *("variant", "mean", "deviation", "seeds", "difference", "beyond_noise"),
    *("parameters", "multiply_adds", "step_ms", "published"),
)


@dataclass(frozen=True)
class Row:
    """A variant.

    Attributes:
      accuracies: on the test split, a share of 1, one for each seed that has ended.
      parameters, multiply_adds: of the network, the latter for one image; None before any seed.
      step_seconds: of a training step, None where not measured.
      published: the paper's accuracy, per cent; None where it has none.
    """

    variant: str
    accuracies: tuple[float, ...]
    parameters: int | None = None
    multiply_adds: int | None = None
    step_seconds: float | None = None
    published: float | None = None

    @property
    def mean(self) -> float:
        """Per cent; nan without any."""
        return 100 * statistics.fmean(self.accuracies) if self.accuracies else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (of n - 1), points; nan for fewer than two."""
        return 100 * statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan


def read_row(
    variant: str,
    workdirs: Sequence[Path],
    step_seconds: float | None = None,
    published: float | None = None,
) -> Row:
    """The row of a variant from its runs' directories."""
    results = [(w, r) for w in workdirs if (r := read_result(w)) is not None]
    if not results:
        return Row(variant, (), None, None, step_seconds, published)
    description = loading.describe(results[0][0])
    model = create_model(description["model"]["name"], **description["model"]["options"])
    size, _, channels = description["image_shape"]
    return Row(
        variant,
        tuple(result["test"]["accuracy"] for _, result in results),
        count_parameters(model, image_size=size, channels=channels),
        multiply_adds(model, size, channels=channels),
        step_seconds,
        published,
    )


def pooled_deviation(rows: Sequence[Row]) -> float:
    """The standard deviation over seeds, points, that all variants are taken to share.

    Three seeds alone tell a deviation to a factor of two or so; all variants together tell it well.
    nan if no variant has two seeds.
    """
    repeated = [row for row in rows if len(row.accuracies) > 1]
    freedom = sum(len(row.accuracies) - 1 for row in repeated)
    squares = sum((len(row.accuracies) - 1) * row.deviation**2 for row in repeated)
    return math.sqrt(squares / freedom) if freedom else math.nan


def difference(row: Row, base: Row, deviation: float) -> tuple[float, bool]:
    """Points above `base`, and whether that is more than noise: at least `NOISE` standard errors.

    The standard error is deviation * sqrt(1/n + 1/n0). Without a deviation everything is noise.
    """
    points = row.mean - base.mean
    if not (row.accuracies and base.accuracies):
        return points, False
    error = deviation * math.sqrt(1 / len(row.accuracies) + 1 / len(base.accuracies))
    return points, abs(points) >= NOISE * error


def as_markdown(rows: Sequence[Row], data: str, paper: str | None = None) -> str:
    """The table, with the rule by which differences count.

    Args:
      data: what the accuracies were measured on.
      paper: what the published figures were measured on; None without a column for them.
    """
    base, deviation = rows[0], pooled_deviation(rows)
    timed = any(row.step_seconds for row in rows)
    header = ["variant", f"test accuracy on {data}, %", "seeds", f"against {base.variant}, points"]
    header += ["parameters", "10⁶ mult.-adds"] + timed * ["time of a step"]
    header += [f"published accuracy on {paper}, %"] * (paper is not None)
    lines = [header, ["---"] * len(header)]
    for row in rows:
        lines.append(
            [
                row.variant,
                _with_deviation(row),
                str(len(row.accuracies)),
                "" if row is base else _against(row, base, deviation),
                "" if row.parameters is None else f"{row.parameters:,}",
                "" if row.multiply_adds is None else f"{row.multiply_adds / 1e6:.3f}",
                *timed * [_ratio(row, base)],
                *(paper is not None) * [_published(row, base)],
            ]
        )
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"{table}\n{_rule(base, deviation, timed)}\n"


def as_csv(rows: Sequence[Row]) -> str:
    """The same in numbers: accuracies in per cent, differences in points, times in ms."""
    base, deviation = rows[0], pooled_deviation(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        points, beyond = difference(row, base, deviation)
        numbers: list[float | None] = [
            row.mean,
            row.deviation,
            len(row.accuracies),
            points,
            int(beyond),
        ]
        numbers += [row.parameters, row.multiply_adds]
        numbers += [1000 * row.step_seconds if row.step_seconds else None, row.published]
        writer.writerow([row.variant, *map(_number, numbers)])
    return out.getvalue()


def noise_band(rows: Sequence[Row]) -> float:
    """Points about the first variant within which another with as many seeds is noise."""
    count = len(rows[0].accuracies)
    return NOISE * pooled_deviation(rows) * math.sqrt(2 / count) if count else math.nan


def _rule(base: Row, deviation: float, timed: bool) -> str:
    rule = (
        "Mean and standard deviation over seeds. A difference is noise if it is less than"
        f" {NOISE} standard errors, s sqrt(1/n + 1/n0), with s the deviation over seeds pooled over"
        " all variants"
    )
    rule += "." if math.isnan(deviation) else f": {deviation:.2f} points."
    if timed:
        rule += f" Times are medians of one compiled training step, {base.variant} = 1."
    return rule


def _with_deviation(row: Row) -> str:
    if not row.accuracies:
        return "failed"
    spread = "" if math.isnan(row.deviation) else f" ± {row.deviation:.2f}"
    return f"{row.mean:.2f}{spread}"


def _against(row: Row, base: Row, deviation: float) -> str:
    points, beyond = difference(row, base, deviation)
    if math.isnan(points):
        return ""
    return f"{points:+.2f}" if beyond else f"{points:+.2f} (noise)"


def _ratio(row: Row, base: Row) -> str:
    if not (row.step_seconds and base.step_seconds):
        return ""
    return f"{row.step_seconds / base.step_seconds:.2f} ({1000 * row.step_seconds:.1f} ms)"


def _published(row: Row, base: Row) -> str:
    if row.published is None:
        return ""
    if base.published is None or row is base:
        return f"{row.published:.2f}"
    return f"{row.published:.2f} ({row.published - base.published:+.2f})"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def step_times(file: Path) -> Mapping[str, float]:
    """Seconds by page and variant, as `train.sweep.timing` wrote them; empty if it did not."""
    return json.loads(file.read_text())["seconds"] if file.exists() else {}
