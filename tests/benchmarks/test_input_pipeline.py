"""What the input benchmark reads is the same by every decoder and by every reader."""

import numpy as np
from PIL import Image

from benchmarks.input_pipeline import (
    decoders,
    draw,
    stored_batches,
    write_photos,
    write_squares,
)


def test_photos_are_drawn_anew_by_seed_alone():
    one = draw((30, 40), seed=1)
    assert one.dtype == np.uint8
    assert one.shape == (30, 40, 3)
    assert np.array_equal(one, draw((30, 40), seed=1))
    assert not np.array_equal(one, draw((30, 40), seed=2))


def test_batches_and_files_hold_the_same_squares(tmp_path):
    photos = write_photos(tmp_path / "photos", 4)
    for kind in ("JPEG", "PNG"):
        files = write_squares(tmp_path / f"{kind} files", photos, kind)
        images = {np.asarray(Image.open(file)).tobytes() for file in files}
        batch = stored_batches(tmp_path / kind, photos, 4, kind)[0]
        assert {image.tobytes() for image in batch["image"]} == images
        for decode in decoders(f"squares, {kind}").values():
            assert np.array_equal(decode(files[0].read_bytes()), np.asarray(Image.open(files[0])))
