"""Evaluation by command: what is counted, against NumPy, and what is written and refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax import create_model, load, preprocess_for
from senet_jax.convert import export_timm
from senet_jax.preprocessing import Preprocess
from train.checkpoints import Checkpoints
from train.config import read_config
from train.data import make_data
from train.errors import WrongInput
from train.evaluate.__main__ import _progress, check_classes, enlargements, main
from train.evaluate.counts import Counts, count, largest_top, prepared
from train.evaluate.picture import draw_confusion
from train.evaluate.report import as_markdown, confused_pairs, facts, write
from train.parallel import Devices
from train.setup import describe, initialiser, make_recipe

CHECKOUT = Path(__file__).parents[2]
NAMES = ("cat", "dog", "newt")
# a cat for a dog once, the only dog for a cat, and there is no newt
CONFUSION = np.array([[4, 1, 2], [1, 0, 0], [0, 0, 0]])


@pytest.fixture(scope="module")
def page(data_dir):
    """What says which images, for the command line."""
    return [
        "--config=configs/digits.py",
        "--config.model.options.stage_sizes=(1,)",
        f"--config.data.dir={data_dir}",
    ]


@pytest.fixture(scope="module")
def config(page):
    return read_config("configs/digits.py", page[1:])


@pytest.fixture(scope="module")
def data(config):
    return make_data(config)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, config, data):
    """A run's directory with random variables, others as averages, as its one checkpoint."""
    workdir = tmp_path_factory.mktemp("trained")
    recipe = make_recipe(config, data, Devices())
    init = initialiser(config, data, recipe)
    state = Devices().born(init, np.uint32(3))
    state = state.replace(ema=Devices().born(init, np.uint32(4)).variables)
    with Checkpoints(workdir, describe(config, data)) as checkpoints:
        checkpoints.save(0, state)
    return workdir


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Weights in timm's layout for images of 8 pixels of which an eighth is cut off."""
    model = create_model("resnet18", stage_sizes=(1,), num_classes=10)
    variables = jax.jit(model.init)(jax.random.key(5), np.zeros((1, 8, 8, 1), np.float32))
    folder = tmp_path_factory.mktemp("exported")
    usual = {"image_size": 8, "mean": (0.2,), "std": (0.3,)}
    return export_timm(model, "resnet18", variables, folder, **usual)


def stored_images(data):
    batch = data.test_batches.examples
    return batch.gather(np.arange(len(batch)))


def expected_counts(network, images, labels, top):
    """By NumPy, of images as the network takes them."""
    model, variables = network
    apply = jax.jit(lambda x: model.apply(variables, x, train=False))
    logits = np.asarray(apply(images), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    order = np.argsort(-logits, axis=1, kind="stable")
    confusion = np.zeros((10, 10), np.int64)
    np.add.at(confusion, (labels, order[:, 0]), 1)
    in_top = (order[:, :top] == labels[:, None]).sum()
    return -log_p[np.arange(len(labels)), labels].sum(), in_top, confusion


@pytest.fixture(scope="module")
def both_sizes(trained, data):
    """The ways and the counts at the stored size and an enlarged one."""
    usual = preprocess_for(trained)
    ways = [usual, Preprocess((12, 12), usual.mean, usual.std, crop=1.0)]
    return ways, count(load(trained), ways, Devices(), data.test())


@pytest.mark.parametrize("which", [0, 1])
def test_counts_are_numpys(trained, data, both_sizes, which):
    """Of 360 images in a batch of 512: padding is not counted."""
    ways, counts = both_sizes
    images, labels = stored_images(data)
    loss, in_top, confusion = expected_counts(
        load(trained), prepared(images, ways[which]), labels, top=5
    )
    np.testing.assert_array_equal(counts[which].confusion, confusion)
    assert counts[which].in_top == in_top
    assert counts[which].examples == 360
    assert counts[which].loss == pytest.approx(loss, rel=1e-5)  # float32 sums
    assert counts[which].scores() == pytest.approx(
        {"loss": loss / 360, "top1": confusion.trace() / 360, "top5": in_top / 360}, rel=1e-5
    )


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_the_size_of_batches_does_not_matter_nor_the_way_to_run_in_parallel(
    trained, data, both_sizes, mode
):
    """100 does not divide 360."""
    ways, counts = both_sizes
    batches = type(data.test_batches)(data.test_batches.examples, 100)
    reading = (batches[k] for k in range(len(batches)))
    told = []
    (again,) = count(load(trained), ways[:1], Devices(mode), reading, lambda: told.append(1))
    np.testing.assert_array_equal(again.confusion, counts[0].confusion)
    assert again[:3] == pytest.approx(counts[0][:3], rel=1e-5)
    assert len(told) == 4


def test_readers_end_when_someone_stops(trained, data):
    ended = []

    def reading():
        try:
            yield data.test_batches[0]
            yield data.test_batches[0]
        finally:
            ended.append(True)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count(load(trained), [preprocess_for(trained)], Devices(), reading(), stop)
    assert ended


@pytest.mark.parametrize(
    "way",
    [
        Preprocess((12, 12), (0.0,), (1 / 255,), crop=1.0),
        Preprocess((12, 12), (0.0,), (1 / 255,), interpolation="bilinear"),
        Preprocess((5, 5), (0.0,), (1 / 255,)),
        Preprocess((5, 7), (0.0,), (1 / 255,), crop_mode="squash", interpolation="lanczos"),
        Preprocess((8, 8), (0.3,), (0.5 / 255,), crop=1.0),
    ],
    ids=["enlarged", "cropped", "antialiased", "squashed", "as it is"],
)
def test_the_device_prepares_images_as_the_host_does(way):
    """To a step of 0..255: Pillow's sums are of whole numbers."""
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    ours, theirs = np.asarray(prepared(images, way)), way(images)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1.01)


def test_a_filter_that_the_device_does_not_have_is_refused_where_it_is_needed():
    images = np.zeros((1, 8, 8, 1), np.uint8)
    box = Preprocess((8, 8), (0.0,), (1.0,), crop=1.0, interpolation="box")
    assert prepared(images, box).shape == (1, 8, 8, 1)
    with pytest.raises(WrongInput, match=r"'box'.*store them with 9 x 9 pixels"):
        prepared(images, Preprocess((8, 8), (0.0,), (1.0,), interpolation="box"))


def test_of_few_classes_fewer_are_the_top():
    assert [largest_top(classes) for classes in (1, 2, 3, 6, 7, 1000)] == [1, 1, 2, 5, 5, 5]
    one, two = Counts(8.0, 6, 2, CONFUSION), Counts(8.0, 4, 1, CONFUSION)
    assert one.scores() == {"loss": 8 / 8, "top1": 4 / 8, "top2": 6 / 8}
    assert two.scores() == {"loss": 1.0, "top1": 4 / 8}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=60))
def test_pairs_are_counted_either_way_round(guesses):
    confusion = np.zeros((5, 5), np.int64)
    for pair in guesses:
        confusion[pair] += 1
    found = confused_pairs(confusion, "abcde", most=25)
    wrong = [frozenset(pair) for pair in guesses if pair[0] != pair[1]]
    names = [frozenset(map("abcde".index, pair["classes"])) for pair in found]
    assert [pair["errors"] for pair in found] == [wrong.count(name) for name in names]
    assert sorted(map(sorted, names)) == sorted(map(sorted, set(wrong)))
    errors = [pair["errors"] for pair in found]
    assert errors == sorted(errors, reverse=True)
    assert confused_pairs(confusion, "abcde", most=2) == found[:2]


def test_the_report_has_a_row_for_each_size_and_the_pairs_in_words():
    about = {"model": "seresnet20", "data": "pets", "split": "test"}
    counts = [Counts(8.0, 6, 2, CONFUSION), Counts(4.0, 7, 2, CONFUSION)]
    text = as_markdown(facts(about, [(8, 8), (12, 16)], counts, NAMES))
    assert text.startswith("seresnet20 on pets, test: 8 images of 3 classes\n")
    assert "| size | top-1, % | top-2, % | loss |\n| --- | --- | --- | --- |\n" in text
    assert "| 8 x 8 | 50.00 | 75.00 | 1.0000 |\n| 12 x 16 | 50.00 | 87.50 | 0.5000 |\n" in text
    assert "- cat and dog: 2 times (cat as dog: 1, dog as cat: 1)" in text
    assert "- cat and newt: 2 times (cat as newt: 2, newt as cat: 0)" in text
    right = Counts(0.1, 3, 2, np.eye(3, dtype=int))
    text = as_markdown(facts(about, [(8, 8)], [right], NAMES))
    assert text.endswith("No image was taken for another class.")


def test_tables_say_what_became_of_every_image(tmp_path):
    counts = [Counts(8.0, 6, 2, CONFUSION)]
    found = facts({"model": "seresnet20"}, [(8, 8)], counts, NAMES)
    write(tmp_path / "new" / "place", found, CONFUSION, NAMES)
    written = tmp_path / "new" / "place"
    assert json.loads((written / "report.json").read_text()) == found
    with (written / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(NAMES)
    assert [row["images"] for row in rows] == ["7", "1", "0"]
    assert [row["accuracy"] for row in rows] == ["0.571429", "0.000000", ""]
    assert [row["taken_for_it"] for row in rows] == ["1", "1", "2"]
    with (written / "confusion.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["class", "cat", "dog", "newt"],
            ["cat", "4", "1", "2"],
            ["dog", "1", "0", "0"],
            ["newt", "0", "0", "0"],
        ]
    assert (written / "confusion.png").read_bytes().startswith(b"\x89PNG")


def cells(figure):
    """What is drawn: shares, -1 for a class without images, nan for white."""
    return np.ma.filled(figure.axes[0].images[0].get_array().astype(float), np.nan)


def test_few_classes_have_names_and_numbers():
    figure = draw_confusion(CONFUSION, NAMES)
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == list(NAMES)
    assert [text.get_text() for text in panel.texts] == ["4", "1", "2", "1"]
    np.testing.assert_allclose(cells(figure)[0], [4 / 7, 1 / 7, 2 / 7])
    np.testing.assert_array_equal(cells(figure)[1], [1, np.nan, np.nan])
    np.testing.assert_array_equal(cells(figure)[2], [-1, -1, -1])


def test_of_a_thousand_classes_every_cell_has_its_pixels():
    """And a single error among many images is told from none by its colour."""
    confusion = np.diag(np.full(1000, 999))
    confusion[3, 700] = 1
    figure = draw_confusion(confusion, [str(i) for i in range(1000)])
    assert tuple(figure.get_size_inches() * figure.dpi) == (2000, 2000)
    panel = figure.axes[0]
    assert not panel.texts
    assert len(panel.get_yticks()) < 20
    image = panel.images[0]
    once, never = (image.cmap(image.norm(cells))[:3] for cells in (1 / 1000, 1.0))
    white = image.cmap(np.ma.masked)[:3]
    assert white == (1, 1, 1)
    assert once[0] < 0.8 and never[0] < 0.2  # of red, which a blue has little of


def test_the_command_tells_and_writes(page, trained, both_sizes, tmp_path, capsys):
    out = tmp_path / "evaluation"
    command = [*page, f"--weights={trained}", "--sizes=8,12", f"--out={out}"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "For 12 x 12 pixels the stored images, 8 x 8, are enlarged to 12 x 12" in said
    assert "seresnet20 on digits, test: 360 images of 10 classes" in said
    found = json.loads((out / "report.json").read_text())
    for row, counts in zip(found["sizes"], both_sizes[1], strict=True):
        assert {k: row[k] for k in counts.scores()} == pytest.approx(counts.scores())
    names = ["confusion.csv", "confusion.png", "per_class.csv", "report.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert main(command) == 2
    assert f"{out} has a report.json already: give another --out." in capsys.readouterr().err


def test_raw_weights_are_others_than_averages(page, trained, data, capsys):
    assert main([*page, f"--weights={trained}", "--kind=raw", "--split=validation"]) == 0
    said = capsys.readouterr().out
    assert "validation: 144 images" in said
    ways = [preprocess_for(trained)]
    raw, ema = (
        count(load(trained, weights=kind), ways, Devices(), data.validation())[0].scores()
        for kind in ("raw", "ema")
    )
    assert f"| {raw['loss']:.4f} |" in said
    assert raw["loss"] != pytest.approx(ema["loss"], rel=1e-5)


def test_weights_of_a_folder_see_what_predict_would_show_them(page, exported, data, capsys):
    """Resized to 9 pixels, of which the middle 8 are cut out; here of the training split."""
    assert main([*page, f"--weights={exported}", "--split=train"]) == 0
    said = capsys.readouterr().out
    assert "For 8 x 8 pixels the stored images, 8 x 8, are enlarged to 9 x 9" in said
    assert "resnet18 on digits, train: 1,293 images" in said
    images, labels = data.training_batches.examples.gather(np.arange(data.train_size))
    way = preprocess_for(exported)
    assert way.mean == (0.2,)
    _, in_top, confusion = expected_counts(load(exported), prepared(images, way), labels, 5)
    top1, top5 = (100 * correct / 1293 for correct in (confusion.trace(), in_top))
    assert f"| 8 x 8 | {top1:.2f} | {top5:.2f} |" in said


def test_a_run_is_evaluated_without_what_it_started_from(page, trained, capsys):
    gone = "--config.model.init_from=runs/nowhere"
    assert main([*page, f"--weights={trained}", gone]) == 0
    assert "top-5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--weights=runs/nowhere"], "There is nothing at runs/nowhere: expected the directory"),
        (["--weights=seresnet5O"], "'seresnet5O' is neither a file or directory that is there nor"),
        (["--weights={exported}", "--kind=raw"], "weights='raw' chooses between what a training"),
        (["--weights={exported}", "--model=resnet34"], "holds resnet18, not resnet34"),
        (["--weights={trained}", "--out={file}"], "is a file, expected a directory: give another"),
        (["--weights={trained}", "--config.data.nam=x"], "Did you mean config.data.name?"),
        (["--weights={trained}", "--size=8"], "--size=8 is not understood"),
    ],
)
def test_one_sentence(page, trained, exported, tmp_path, capsys, arguments, answer):
    file = tmp_path / "file"
    file.touch()
    places = {"trained": trained, "exported": exported, "file": file}
    assert main([*page, *(argument.format(**places) for argument in arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert answer in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["0", "8,8", "8;12", "-3", ""])
def test_sizes_are_different_numbers(page, text, capsys):
    with pytest.raises(SystemExit):
        main([*page, "--weights=-", f"--sizes={text}"])
    assert "expected different pixels, e.g. 192,224" in capsys.readouterr().err


def test_weights_for_other_classes_are_refused(data, trained):
    thousand, none = create_model("seresnet50"), create_model("seresnet20", num_classes=0)
    with pytest.raises(WrongInput, match="tells 1,000 classes apart, and the data have 10 classes"):
        check_classes(thousand, data, "seresnet50.a1_in1k", None)
    with pytest.raises(WrongInput, match="has no classifier, and the data have 10 classes"):
        check_classes(none, data, "seresnet20", None)
    ten = create_model("seresnet20", num_classes=10)
    check_classes(ten, data, str(trained), None)
    words = SimpleNamespace(num_classes=10, class_names=("0", "1", "two", *data.class_names[3:]))
    with pytest.raises(WrongInput, match=r"has the class '2', the data have 'two': give data"):
        check_classes(ten, words, str(trained), None)


def test_what_is_not_enlarged_is_not_told(data):
    ways = [Preprocess((size, size), (0.0,), (1.0,), crop=1.0) for size in (6, 8, 9)]
    assert len(list(enlargements(ways, data.test_batches))) == 1


def test_a_bar_is_drawn_where_someone_looks(capsys):
    for shown in (True, False):
        with _progress(2, shown=shown) as advance:
            advance()
            advance()
        assert ("batch" in capsys.readouterr().out) == shown


@pytest.mark.slow
def test_on_eight_devices_as_on_one(page, trained, both_sizes, tmp_path):
    program = (
        "import os, sys; os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8';"
        "from train.evaluate.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    for mode in ("jit", "pmap"):
        out = tmp_path / mode
        command = [sys.executable, "-c", program, *page, f"--weights={trained}", f"--out={out}"]
        command.append(f"--config.parallel={mode}")
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads((out / "report.json").read_text())["sizes"]
        assert {k: row[k] for k in ("top1", "top5", "loss")} == pytest.approx(
            both_sizes[1][0].scores(), rel=1e-5
        )
