"""Images a second that one core reads: python -m benchmarks.input_pipeline.

    taskset -c 0 python -m benchmarks.input_pipeline

Ours (stored squares -> uint8 batches) beside PyTorch's DataLoader with Pillow, where torch is
installed, and the decoders that are installed beside each other. Photos are drawn: noise of a
photo's spectrum with edges, 500x375, as JPEG of quality 90.
"""

import contextlib
import importlib.util
import io
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from benchmarks.report import Report, count, parser, timing_row
from senet_jax.bench import Run, interleaved
from train.data.example import raw_source
from train.data.images import to_png
from train.data.pipeline import InMemory, Records, TrainingBatches
from train.data.squares import Photo, Plan, Square, Squares, reader

PHOTO, STORED, SEEN, SMALL = (375, 500), 256, 224, 32
KINDS = ("JPEG", "PNG")
COLUMNS = {
    "what": "what",
    "by": "by",
    "images_per_second": "images/s",
    "ratio": "times the first",
    "quartiles_ms": "quartiles of a batch, ms",
}


def main() -> None:
    made = parser("input_pipeline", __doc__.splitlines()[0])
    made.add_argument("--images", type=count, default=256)
    made.add_argument("--batch", type=count, default=64)
    made.add_argument("--repeats", type=count, default=7)
    made.add_argument("--seconds", type=float, default=2.0, help="a repeat takes at least")
    options = made.parse_args()
    report = Report("input_pipeline", options, COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder) / "photos", options.images)
        for what, runs in _measured(Path(folder), photos, options.batch):
            timings = interleaved(runs, options.repeats, least_seconds=options.seconds)
            base = next(iter(timings.values()))
            for by, timing in timings.items():
                report.add(what=what, by=by, **timing_row(timing, options.batch, base))


def write_photos(folder: Path, number: int) -> list[Path]:
    """Drawn, as JPEG files of quality 90."""
    folder.mkdir()
    files = [folder / f"{i:05}.jpg" for i in range(number)]
    for i, file in enumerate(files):
        Image.fromarray(draw(PHOTO, seed=i)).save(file, quality=90)
    return files


def draw(shape: tuple[int, int], seed: int) -> np.ndarray:
    """uint8 [H, W, 3]: amplitudes that fall with frequency as a photo's, colours that differ less
    than brightness, and a plain area."""
    random = np.random.default_rng(seed)
    rows, columns = (np.fft.fftfreq(side)[:, None] for side in shape)
    frequency = np.hypot(rows, columns.T)
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * random.random((4, *shape)))
    noise = np.fft.ifft2(phases / frequency**1.1).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    planes = 128 + 50 * noise[0] + 15 * noise[1:]
    top, left = (random.integers(side // 2) for side in shape)
    planes[:, top : top + 80, left : left + 120] += random.integers(-90, 90, (3, 1, 1))
    return np.clip(planes, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _measured(folder: Path, photos: list[Path], batch: int) -> Iterator[tuple[str, dict[str, Run]]]:
    """What is compared, and by whom."""
    ours = {
        f"ours, stored as {kind}": _reading(stored_batches(folder / kind, photos, batch, kind))
        for kind in KINDS
    }
    squares = {kind: write_squares(folder / f"{kind} files", photos, kind) for kind in KINDS}
    small = stored_batches(folder / "small", photos, batch, "PNG", SMALL)
    memory = InMemory(*small.examples.gather(np.arange(len(photos))))
    ours_small = {
        "ours, stored as PNG": _reading(small),
        "ours, in memory": _reading(TrainingBatches(memory, batch)),
    }
    if importlib.util.find_spec("torch"):
        from benchmarks import torch_loader

        yield (
            f"training images of {SEEN} pixels, or {STORED} to be cropped on the device",
            {
                "DataLoader, photos": torch_loader.crops(photos, batch, SEEN),
                "DataLoader, squares as JPEG": torch_loader.crops(squares["JPEG"], batch, SEEN),
                **ours,
            },
        )
        loaders = {
            f"DataLoader, {kind} files": torch_loader.whole(files, batch)
            for kind, files in squares.items()
        }
        yield f"squares of {STORED} pixels, decoded alone", loaders | ours
        files = write_squares(folder / "small files", photos, "PNG", SMALL)
        loader = {"DataLoader, PNG files": torch_loader.whole(files, batch)}
        yield f"images of {SMALL} pixels", loader | ours_small
    else:
        yield f"squares of {STORED} pixels, decoded alone", ours
        yield f"images of {SMALL} pixels", ours_small
    sets = {"photos, JPEG": photos} | {f"squares, {kind}": squares[kind] for kind in KINDS}
    for name, files in sets.items():
        contents = [file.read_bytes() for file in files]
        mean = sum(map(len, contents)) / len(contents) / 1024
        known = {by: _decoding(decode, contents, batch) for by, decode in decoders(name).items()}
        yield f"decoding {name}, {mean:.0f} KiB", known


def stored_batches(
    folder: Path, photos: list[Path], batch: int, kind: str, size: int = STORED
) -> TrainingBatches:
    """As a run has them: uint8 [batch, size, size, 3]."""

    def all_photos(split: str) -> Iterator[Photo]:
        for i, file in enumerate(photos):
            yield Photo(str(i), i % 2, file if kind == "JPEG" else _as_png(file))

    plan = Plan(
        key=kind,
        description="Drawn photos.",
        class_names=("0", "1"),
        sizes={"train": size},
        photos=all_photos,
        channels=3,
        skip_unreadable=False,
    )
    builder = Squares(plan, data_dir=folder, file_format="array_record")
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    records = Records(raw_source(builder, "train"), builder.image_shape("train"))
    return TrainingBatches(records, batch)


def write_squares(folder: Path, photos: list[Path], kind: str, size: int = STORED) -> list[Path]:
    """The same squares as files."""
    folder.mkdir()
    read, squares = reader(size, 3, lossy=kind == "JPEG"), []
    for i, file in enumerate(photos):
        square = read(Photo(str(i), 0, file))
        assert isinstance(square, Square)
        squares.append(folder / f"{i}.{kind.lower()}")
        squares[-1].write_bytes(square.file.getvalue())
    return squares


def _as_png(photo: Path) -> bytes:
    """What is stored without loss."""
    with Image.open(photo) as image:
        return to_png(np.asarray(image)).getvalue()


def decoders(kind: str) -> dict[str, Callable[[bytes], np.ndarray]]:
    """Those that are installed, from an encoded image to uint8 [H, W, 3]."""
    found: dict[str, Callable[[bytes], np.ndarray]] = {"Pillow": _pillow}
    if kind.startswith("photos"):
        found["Pillow, half size by draft"] = _draft
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        found["OpenCV"] = lambda data: cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB
        )
    if importlib.util.find_spec("simplejpeg") and "JPEG" in kind:
        import simplejpeg

        found["simplejpeg"] = simplejpeg.decode_jpeg
    return found


def _pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _draft(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (image.width // 2, image.height // 2))
        return np.asarray(image.convert("RGB"))


def _reading(batches: TrainingBatches) -> Run:
    numbers = itertools.count()

    def run(steps: int) -> None:
        for _ in range(steps):
            batches[next(numbers)]

    return run


def _decoding(decode: Callable[[bytes], np.ndarray], contents: list[bytes], batch: int) -> Run:
    cycle = itertools.cycle(contents)

    def run(steps: int) -> None:
        for content in itertools.islice(cycle, steps * batch):
            decode(content)

    return run


if __name__ == "__main__":
    main()
