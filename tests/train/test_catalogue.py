"""What TFDS has prepared, as ArrayRecord or as TFRecord, becomes squares without TensorFlow."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorboardX.record_writer import RecordWriter

from configs.defaults import defaults
from senet_jax.preprocessing import Preprocess
from train.check import check
from train.data import make_data
from train.data.tfrecord import crc32c, masked, records
from train.errors import WrongInput

CHECKOUT = Path(__file__).parents[2]
SIZES = {"train": 12, "validation": 4, "test": 3}
CLASSES = ("cat", "dog")


def photo(split, i, channels=3):
    """Smooth, so that JPEG keeps it; of a shape of its own."""
    height, width = 18 + i % 5, 26 - i % 7
    rows, columns = np.mgrid[:height, :width]
    planes = [20 * (i % 3) + 4 * rows, 6 * columns, len(split) * 9 + 0 * rows][:channels]
    return np.stack(planes, axis=-1).astype(np.uint8)


def encoded(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, kind)
    file.seek(0)
    return file


class Pets(tfds.core.GeneratorBasedBuilder):
    """As TFDS' own: photos, or what a subclass makes of them."""

    VERSION = tfds.core.Version("1.0.0")
    kind, channels, sizes, key = "png", 3, SIZES, "image"

    def _info(self):
        image = tfds.features.Image(shape=(None, None, self.channels), encoding_format=self.kind)
        label = tfds.features.ClassLabel(names=CLASSES)
        features = tfds.features.FeaturesDict({self.key: image, "label": label, "size": np.int64})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.sizes}

    def _generate_examples(self, split):
        for i in range(self.sizes[split]):
            pixels = photo(split, i, self.channels)
            label = i % 2 if split in SIZES else -1
            yield i, {self.key: encoded(pixels, self.kind), "label": label, "size": pixels.size}


class GreyPets(Pets):
    channels = 1


class JpegPets(Pets):
    kind, sizes = "jpeg", {"train": 12}


class Drawings(Pets):
    key = "picture"


def as_tfrecord(path):
    """Writes the files again as TFDS does by default, by a writer that is not ours."""
    info = json.loads((path / "dataset_info.json").read_text())
    for split in info["splits"]:
        split["filepathTemplate"] = split["filepathTemplate"].replace("{FILEFORMAT}", "tfrecord")
    source = tfds.builder_from_directory(path)
    for split in source.info.splits:
        raw = source.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        name = f"{source.name}-{split}.tfrecord-00000-of-00001"
        writer = RecordWriter(str(path / name))
        for record in raw:
            writer.write(bytes(record))
        writer.close()
    for file in path.glob("*.array_record*"):
        file.unlink()
    info["fileFormat"] = "tfrecord"
    (path / "dataset_info.json").write_text(json.dumps(info))


def config_of(directory, name="pets", **data):
    config = defaults()
    fields = {"name": f"tfds:{name}", "dir": str(directory), "batch_size": 4, "image_size": 7}
    config.data.update(fields | {"in_memory": True} | data)
    config.evaluation.batch_size = 4
    return config


def prepare(builder_class, directory):
    builder = builder_class(data_dir=directory, file_format="array_record")
    builder.download_and_prepare()
    return builder.data_path


@pytest.fixture(scope="module", params=["array_record", "tfrecord"])
def directory(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    prepared = prepare(Pets, path)
    if request.param == "tfrecord":
        as_tfrecord(Path(prepared))
    return path


def test_splits_classes_and_squares_are_those_of_the_data_set(directory):
    data = make_data(config_of(directory))
    assert data.class_names == CLASSES
    assert (data.train_size, data.validation_size, data.test_size) == (12, 4, 3)
    assert data.image_shape == (7, 7, 3)
    assert data.training_batches[0]["image"].shape == (4, 8, 8, 3)
    preprocess = Preprocess((7, 7), mean=(0.0,) * 3, std=(1 / 255,) * 3, crop=1.0)
    batch = data.test_batches[0]
    expected = {
        np.rint(preprocess(photo("test", i))[0]).astype(np.uint8).tobytes(): i % 2 for i in range(3)
    }
    stored = {i.tobytes(): n for i, n in zip(batch["image"][:3], batch["label"][:3], strict=True)}
    assert stored == expected


def test_both_formats_give_the_same_data(directory, tmp_path):
    prepare(Pets, tmp_path)
    here, there = (make_data(config_of(path)) for path in (directory, tmp_path))
    assert here.fingerprint == there.fingerprint
    assert (here.mean, here.std) == (there.mean, there.std)


def test_grey_stays_grey(tmp_path):
    prepare(GreyPets, tmp_path)
    data = make_data(config_of(tmp_path, "grey_pets"))
    assert data.image_shape == (7, 7, 1)
    assert len(data.mean) == 1


def test_without_other_splits_a_share_of_each_class_is_for_validation(tmp_path):
    prepare(JpegPets, tmp_path)
    data = make_data(config_of(tmp_path, "jpeg_pets", validation_fraction=1 / 3))
    assert (data.train_size, data.validation_size, data.test_size) == (8, 4, 4)
    assert np.bincount(data.validation_batches.examples.labels).tolist() == [2, 2]
    with pytest.raises(WrongInput, match="has training images only, and config"):
        make_data(config_of(tmp_path, "jpeg_pets", validation_fraction=0.0))


def test_a_split_without_labels_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Pets, "sizes", {"train": 8, "secret": 3})
    path = Path(prepare(Pets, tmp_path))
    for file in [*path.glob("*secret*"), path / "dataset_info.json"]:  # TFDS calls it test
        file.write_bytes(file.read_bytes().replace(b'"secret"', b'"test"'))
        file.rename(str(file).replace("secret", "test"))
    data = make_data(config_of(tmp_path, validation_fraction=0.25))
    assert (data.train_size, data.validation_size, data.test_size) == (6, 2, 2)


def refusal(config):
    with pytest.raises(WrongInput) as caught:
        make_data(config)
    return str(caught.value)


def test_what_is_not_prepared_is_refused_with_the_command_and_tensorflow_is_named(tmp_path):
    said = refusal(config_of(tmp_path, "oxford_flowers102"))
    assert said.startswith(f"There is no data set oxford_flowers102 in {tmp_path}. Prepare it once")
    assert "that needs TensorFlow, which is not installed here (pip install tensorflow)" in said
    code = said.partition("python -c '")[2].removesuffix("'")
    assert f'tfds.builder("oxford_flowers102", data_dir="{tmp_path}"' in code
    compile(code, "command", "exec")


def test_data_without_image_and_label_are_refused_with_what_they_have(tmp_path):
    prepare(Drawings, tmp_path)
    said = refusal(config_of(tmp_path, "drawings"))
    assert said.startswith("drawings/1.0.0 has label, picture, size, expected an image called")


def test_the_check_of_a_config_lets_these_names_pass(tmp_path):
    check(config_of(tmp_path))
    with pytest.raises(WrongInput, match=r"There are: .*, tfds:<name>"):
        config = config_of(tmp_path)
        config.data.name = "pets"
        check(config)


def test_checksums_are_those_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # its appendix B.4
    assert masked(0) == 0xA282EAD8


@pytest.fixture
def file(tmp_path):
    writer = RecordWriter(str(tmp_path / "file"))
    for record in (b"first", b"", b"third" * 100):
        writer.write(record)
    writer.close()
    return tmp_path / "file"


def test_records_are_those_that_were_written(file):
    assert list(records(file)) == [b"first", b"", b"third" * 100]


@pytest.mark.parametrize(
    ("damage", "answer"),
    [
        (lambda whole: whole[:-1], "is damaged at byte 37: the file ends inside a record."),
        (lambda whole: whole[:40], "is damaged at byte 37: the file ends inside a record."),
        (
            lambda whole: b"\x06" + whole[1:],
            "is damaged at byte 0: a record's length does not agree with its checksum.",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_place(file, damage, answer):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(WrongInput) as caught:
        list(records(file))
    assert str(caught.value).startswith(f"{file} {answer}")


def test_neither_tensorflow_nor_jax_is_touched(tmp_path):
    as_tfrecord(Path(prepare(Pets, tmp_path)))
    installed = tmp_path / "packages"
    (installed / "tensorflow").mkdir(parents=True)
    (installed / "tensorflow" / "__init__.py").write_text(
        'import os; os.write(2, b"TensorFlow was imported"); raise ImportError("not this one")'
    )
    program = f"""
import sys
from configs.defaults import defaults
from train.data import make_data

config = defaults()
config.data.update(name="tfds:pets", dir={str(tmp_path)!r}, image_size=7, batch_size=4)
make_data(config).training_batches[0]
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{installed}"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "TensorFlow was imported" not in run.stderr
