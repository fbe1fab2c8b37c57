"""Caffe's weights: files written here by protobuf's rules, and a network computed as Caffe does."""

import dataclasses
import struct
import tracemalloc

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from senet_jax import SEBlock, class_names_for, create_model, load, preprocess_for
from senet_jax.convert.caffe import classes_of, from_caffe
from senet_jax.convert.caffe_file import read_caffemodel
from senet_jax.convert.tables import ConversionError
from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Conv, Head, attach
from tests.convert import seeded

# ---- protobuf's wire format, written ----


def varint(value):
    """Seven bits a byte, lowest first, the eighth says that there are more."""
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value % 128 + 128]), value // 128
    return encoded + bytes([value])


def integer(number, value):
    return varint(8 * number) + varint(value)


def message(number, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(8 * number + 2) + varint(len(content)) + content


def blob(values, *, old=False, packed=True, cut=0):
    """BlobProto: `old` with the four sizes of before 2015, `cut` in two runs of values."""
    values = np.asarray(values)
    number, wire = (8, 1) if values.dtype == np.float64 else (5, 5)
    flat = values.ravel().astype(values.dtype.newbyteorder("<"))
    if packed:
        data = b"".join(message(number, run.tobytes()) for run in (flat[:cut], flat[cut:]))
    else:
        data = b"".join(varint(8 * number + wire) + value.tobytes() for value in flat)
    if old:
        sizes = (1,) * (4 - values.ndim) + values.shape
        return b"".join(integer(i, size) for i, size in enumerate(sizes, 1)) + data
    if packed:
        return data + message(7, message(1, b"".join(map(varint, values.shape))))
    return message(7, b"".join(integer(1, size) for size in values.shape)) + data


def layer(name, *blobs, kind="Convolution"):
    """LayerParameter, with fields that are none of ours before and after the blobs."""
    before = message(1, name) + message(2, kind) + message(3, "data") + integer(10, 1)
    after = varint(8 * 5 + 5) + struct.pack("<f", 1.0) + message(106, integer(1, 64))
    return before + b"".join(message(7, content) for content in blobs) + after


def network(layers):
    """NetParameter of layers that are bytes, or arrays by name."""
    if isinstance(layers, dict):
        layers = [layer(name, *map(blob, arrays)) for name, arrays in layers.items()]
    return message(1, "net") + b"".join(message(100, content) for content in layers)


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "x.caffemodel"
        path.write_bytes(content if isinstance(content, bytes) else network(content))
        return path

    return write


# ---- reading ----

FLOATS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=5),
    elements=st.floats(width=32),
)


@settings(deadline=None, max_examples=60)
@given(
    layers=st.dictionaries(st.text(max_size=8), st.lists(FLOATS, min_size=1, max_size=3)),
    packed=st.booleans(),
    cut=st.integers(0, 9),
)
def test_what_is_written_is_read_to_the_bit(layers, packed, cut, tmp_path_factory):
    layers["last"] = [np.float32([1, 2])]
    content = network(
        [
            layer(name, *(blob(values, packed=packed, cut=cut) for values in arrays))
            for name, arrays in layers.items()
        ]
    )
    path = tmp_path_factory.mktemp("caffe") / "x.caffemodel"
    path.write_bytes(content)
    found = read_caffemodel(path)
    assert list(found) == list(layers)
    for name, arrays in layers.items():
        for got, expected in zip(found[name], arrays, strict=True):
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
            assert got.tobytes() == expected.tobytes()  # not a number, too


def test_blobs_of_before_2015_have_four_axes(written):
    values = np.arange(6, dtype=np.float32)
    path = written(network([layer("fc", blob(values.reshape(2, 3), old=True))]))
    np.testing.assert_array_equal(read_caffemodel(path)["fc"][0], values.reshape(1, 1, 2, 3))


def test_layers_without_weights_and_what_is_not_known_are_left_out(written):
    whole = layer("conv", blob(np.float32([1])) + message(6, b"\0" * 4) + integer(99, 1))
    layers = [layer("data"), whole, layer("data"), layer("prob")]  # one for training, one for tests
    assert list(read_caffemodel(written(network(layers) + integer(5, 1)))) == ["conv"]


def test_the_arrays_have_their_own_memory(written):
    found = read_caffemodel(written({"a": [np.zeros(3, np.float32)]}))
    found["a"][0][:] = 1


# ---- files that are none ----


def fault(path):
    with pytest.raises(ValueError) as caught:
        read_caffemodel(path)
    assert "\n" not in str(caught.value) and str(caught.value).count(". ") == 0
    return str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*gone\.caffemodel: expected"):
        read_caffemodel(tmp_path / "gone.caffemodel")


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>",
        b'name: "SE-BN-Inception"\nlayer {\n  name: "data"\n}\n',  # a prototxt
        b"PK\x03\x04" + b"\0" * 60,
        b"\x89HDF\r\n\x1a\n" + b"\0" * 60,  # what newer versions of Caffe can write
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 47000000\n",
    ],
)
def test_foreign_files_are_told_by_their_first_bytes(written, content):
    text = fault(written(content))
    assert "x.caffemodel is truncated or no .caffemodel (" in text
    assert f"it starts with {content[:8]!r}): fetch" in text


def test_a_network_without_weights_is_refused(written):
    for content in (b"", network([]), network([layer("data"), layer("conv")])):
        assert "holds no layer with weights" in fault(written(content))


def test_the_layers_of_before_2015_are_refused(written):
    text = fault(written(message(1, "net") + message(2, message(4, "conv1"))))
    assert "has the layers of Caffe before 2015" in text
    assert "upgrade_net_proto_binary" in text


def test_a_name_that_stands_for_two_layers_is_refused(written):
    twice = [layer("a", blob(np.float32([1])))] * 2
    assert "two layers are called 'a'" in fault(written(network(twice)))


NUMBERS = np.arange(6, dtype=np.float32)
TRILLION = varint(10**12)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (varint(8 * 100 + 2) + TRILLION, "1000000000000 bytes are expected where 0 are"),
        (network([varint(8 * 7 + 2) + TRILLION]), "1000000000000 bytes are expected where 0 are"),
        (network([message(7, varint(8 * 5 + 2) + TRILLION + b"ab")]), "expected where 2 are"),
        (network([message(7, message(5, b"abc"))]), "a blob whose values are cut"),
        (network([message(7, integer(5, 1))]), "a blob whose values are no floats"),
        (network([message(7, message(8, b"abcd"))]), "a blob whose values are cut"),
        (network([integer(7, 1)]), "a field of another kind"),
        (integer(100, 1), "a field of another kind"),
        (varint(8 * 100 + 1) + b"12345678", "a field of another kind"),
        (varint(8 * 3 + 3), "an unknown key 27"),  # a group, as proto1 had them
        (b"\0\0", "an unknown key 0"),
        (b"\xff" * 20, "an integer without an end"),
        (b"\xa2", "an integer without an end"),
        (network([message(1, b"\xff") + message(7, blob(NUMBERS))]), "name of a layer is no text"),
    ],
)
def test_lies_are_found_where_they_are_told(written, content, text):
    assert text in fault(written(content))


@pytest.mark.parametrize(
    "shape",
    [
        (7,),
        (2, 2),
        (2**40, 2**40),
        (2**64 - 1,),
        (0, 2**63),
        (6, 0),
        (1,) * 33 + (6,),
        (2**31,) * 9,
    ],
)
def test_shapes_that_are_not_those_of_the_values_are_refused(written, shape):
    dims = message(7, message(1, b"".join(map(varint, shape))))
    text = fault(written(network([layer("a", dims + message(5, NUMBERS.tobytes()))])))
    assert "a blob of the shape" in text or "a blob with 34 axes" in text


def test_old_sizes_that_are_not_all_there_are_refused(written):
    only = integer(4, 6) + message(5, NUMBERS.tobytes())
    assert "(0, 0, 0, 6) with 6 values" in fault(written(network([layer("a", only)])))


def test_a_lie_about_the_size_takes_no_memory(written):
    dims = message(7, message(1, varint(2**30)))
    paths = [written(network([message(7, dims)])), written(varint(8 * 100 + 2) + TRILLION)]
    tracemalloc.start()
    for path in paths:
        fault(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


SMALL = {"a": [NUMBERS.reshape(2, 3), np.float64([1, 2])], "b/bn": [NUMBERS] * 3}


def test_a_cut_anywhere_is_found_or_leaves_whole_layers(written):
    whole = network(SMALL)
    for end in range(len(whole)):
        path = written(whole[:end])
        try:
            found = read_caffemodel(path)
        except ValueError:
            fault(path)
        else:  # at the end of a layer: `from_caffe` says what is missing
            assert list(found) == ["a"]
            np.testing.assert_array_equal(found["a"][0], SMALL["a"][0])


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_is_one_sentence_or_unnoticed(tmp_path_factory, data):
    content = bytearray(network(SMALL))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("caffe") / "x.caffemodel"
    path.write_bytes(data.draw(st.one_of(st.just(bytes(content)), st.binary(max_size=50))))
    try:
        read_caffemodel(path)
    except ValueError:
        fault(path)


# ---- a network of both sides ----


class Toy(nn.Module):
    """A convolution, a block with SE, a classifier; the names of Caffe's layers are below."""

    num_classes: int = 4
    attention: nn.Module | None = SEBlock(reduction=4)
    norm: BatchNorm = BatchNorm()

    @nn.compact
    def __call__(self, images, *, train=False):
        x = finish(Stem(self.norm, train, name="stem")(images))
        for b in (1, 2):
            x = Block(self.attention, self.norm, train, name=f"stage1_block{b}")(x)
        return Head(self.num_classes, name="head")(x)


class Stem(nn.Module):
    norm: BatchNorm
    train: bool

    @nn.compact
    def __call__(self, x):
        x = Conv(8, 3, 2, name="conv1")(x)
        return self.norm.clone(use_running_average=not self.train, name="bn1", parent=self)(x)


class Block(nn.Module):
    attention: nn.Module | None
    norm: BatchNorm
    train: bool

    @nn.compact
    def __call__(self, x):
        u = Conv(8, 1, name="conv1")(x)
        norm = self.norm.clone(use_running_average=not self.train, name="bn1", parent=self)
        return finish(attach(self.attention, self, finish(norm(u)), inputs=8), act=None)


NAMES = (
    ("stem/conv1", "conv1/3x3_s2", "conv"),
    ("stem/bn1", "conv1/3x3_s2", "norm"),
    ("stage1_block{b}/conv1", "inception_{b}/1x1", "conv"),
    ("stage1_block{b}/bn1", "inception_{b}/1x1", "norm"),
    ("stage1_block{b}/se/fc1", "inception_{b}_1x1_down", "dense_as_conv"),
    ("stage1_block{b}/se/fc2", "inception_{b}_1x1_up", "dense_as_conv"),
    ("head/fc", "classifier", "dense"),
)


def toy_blobs(channels=3, factor=3.0):
    """Caffe's layers of the toy. Statistics are sums: `factor` times what they stand for."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def norm(name):
        mean, var = normal(8), rng.uniform(0.5, 2, 8).astype(np.float32)
        sums = [factor * mean, factor * var, np.float32([factor])]
        return {f"{name}/bn": sums, f"{name}/bn/scale": [normal(8), normal(8)]}

    blobs = {"conv1/3x3_s2": [normal(8, channels, 3, 3)], **norm("conv1/3x3_s2")}
    for b in (1, 2):
        blobs |= {f"inception_{b}/1x1": [normal(8, 8, 1, 1)], **norm(f"inception_{b}/1x1")}
        blobs[f"inception_{b}_1x1_down"] = [normal(2, 8, 1, 1), normal(2)]
        blobs[f"inception_{b}_1x1_up"] = [normal(8, 2, 1, 1), normal(8)]
    return blobs | {"classifier": [normal(4, 8), normal(4)]}


class Caffe:
    """What Caffe computes of images `[N, C, H, W]`, in float64, by the names of its layers."""

    def __init__(self, blobs):
        self.blobs = blobs

    def convolved(self, x, name, strides=1):
        """Convolution, BatchNorm, Scale, ReLU; padded so that a stride of 1 keeps the size."""
        weight = self.blobs[name][0]
        edge = weight.shape[2] // 2
        padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
        x = np.tensordot(windows[:, :, ::strides, ::strides], weight, ((1, 4, 5), (1, 2, 3)))
        mean, var, factor = (v.astype(np.float64) for v in self.blobs[f"{name}/bn"])
        share = 0 if factor[0] == 0 else 1 / factor[0]
        gamma, beta = self.blobs[f"{name}/bn/scale"]
        x = (x - share * mean) / np.sqrt(share * var + 1e-5) * gamma + beta
        return np.maximum(x, 0).transpose(0, 3, 1, 2)

    def gated(self, x, name):
        """SE, whose layers are 1x1 convolutions with biases."""
        (w1, b1), (w2, b2) = (self.blobs[f"{name}_1x1_{way}"] for way in ("down", "up"))
        z = np.maximum(x.mean((2, 3)) @ w1[:, :, 0, 0].T + b1, 0) @ w2[:, :, 0, 0].T + b2
        return x * (0.5 + 0.5 * np.tanh(z / 2))[:, :, None, None]  # the sigmoid

    def classified(self, x):
        weight, bias = self.blobs["classifier"]
        return x.mean((2, 3)) @ weight.T + bias


def caffes_toy(blobs, images):
    net = Caffe(blobs)
    x = net.convolved(images, "conv1/3x3_s2", 2)
    for b in (1, 2):
        x = net.gated(net.convolved(x, f"inception_{b}/1x1"), f"inception_{b}")
    return net.classified(x)


def caffes_pixels(pixels):
    """`[N, H, W, 3]`, red first, as Caffe has them: blue first, 0..255 minus a mean."""
    return pixels[..., ::-1].transpose(0, 3, 1, 2) - np.array([104, 117, 123.0])[:, None, None]


def apply(variables, images, **options):
    with jax.default_matmul_precision("highest"):
        return np.asarray(Toy(**options).apply(variables, jnp.asarray(images, jnp.float32)))


@pytest.mark.parametrize("factor", [1.0, 999.98, 0.0])
def test_it_computes_what_caffe_computes_of_the_same_pictures(factor):
    blobs = toy_blobs(factor=factor)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 9, 9, 3))
    ours = (pixels / 255 - np.array([123, 117, 104]) / 255) / (1 / 255)
    got = apply(from_caffe(blobs, Toy(), NAMES), ours)
    expected = caffes_toy(blobs, caffes_pixels(pixels))
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()  # float32, 0..255


def test_statistics_are_divided_by_their_factor():
    variables = from_caffe(toy_blobs(factor=4.0), Toy(), NAMES)
    blobs = toy_blobs(factor=1.0)
    got = variables["batch_stats"]["stage1_block2"]["bn1"]
    np.testing.assert_allclose(got["mean"], blobs["inception_2/1x1/bn"][0], rtol=1e-6)
    np.testing.assert_allclose(got["var"], blobs["inception_2/1x1/bn"][1], rtol=1e-6)
    assert variables.keys() == {"params", "batch_stats"}
    nothing = from_caffe(toy_blobs(factor=0.0), Toy(), NAMES)["batch_stats"]["stem"]["bn1"]
    assert not np.any(nothing["mean"]) and not np.any(nothing["var"])


def test_blobs_of_before_2015_fit(written):
    blobs = toy_blobs()
    old = [
        layer(name, *(blob(values, old=True) for values in arrays))
        for name, arrays in blobs.items()
    ]
    found = read_caffemodel(written(network(old)))
    assert found["classifier"][1].shape == (1, 1, 1, 4)
    assert classes_of(found, NAMES) == classes_of(blobs, NAMES) == 4
    got, expected = (from_caffe(b, Toy(), NAMES) for b in (found, blobs))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_only_colours_are_turned_round(channels):
    blobs = toy_blobs(channels)
    kernel = from_caffe(blobs, Toy(), NAMES)["params"]["stem"]["conv1"]["kernel"]
    theirs = blobs["conv1/3x3_s2"][0].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, theirs[:, :, ::-1] if channels == 3 else theirs)


def test_all_misfits_are_told_together_by_name():
    blobs = toy_blobs()
    del blobs["conv1/3x3_s2/bn/scale"]
    blobs["inception_1/1x1/bn"].pop()
    blobs["inception_1/1x1"].append(np.zeros(8, np.float32))
    blobs["loss1/fc"] = [np.zeros((4, 8), np.float32)]
    blobs["inception_2_1x1_up"][0] = np.zeros((8, 3, 1, 1), np.float32)
    blobs["classifier"][0] = blobs["classifier"][0].T
    with pytest.raises(ConversionError) as caught:
        from_caffe(blobs, Toy(), NAMES)
    error = caught.value
    assert sorted(error.missing) == [
        "conv1/3x3_s2/bn/scale.0",
        "conv1/3x3_s2/bn/scale.1",
        "inception_1/1x1/bn.2",
    ]
    assert error.unexpected == ("inception_1/1x1.1", "loss1/fc.0")
    assert error.wrong == {
        "inception_2_1x1_up.0": "has shape (8, 3, 1, 1), expected (8, 2, 1, 1)",
        "classifier.0": "has shape (8, 4), expected (4, 8) (transposed?)",
    }
    assert all(name in str(error) for name in (*error.missing, *error.unexpected, *error.wrong))


def test_networks_without_names_there_are_refused():
    with pytest.raises(ConversionError, match=r"Of Caffe's networks sebn_inception alone is known"):
        from_caffe(toy_blobs(), create_model("resnet18"), NAMES)
    with pytest.raises(ConversionError, match=r"no such network with SEBlock\(act='silu'\)"):
        from_caffe(toy_blobs(), Toy(attention=SEBlock(reduction=4, act="silu")), NAMES)
    with pytest.raises(ConversionError, match=r"unexpected .*inception_1_1x1_down\.0"):
        from_caffe(toy_blobs(), Toy(attention=None), NAMES)
    assert classes_of({}, NAMES) == 0


# ---- SE-BN-Inception ----

# models/SE-BN-Inception.prototxt, by module: the widths of 1x1 (0: none), 3x3_reduce and 3x3,
# double3x3_reduce and both of the double3x3, pool_proj (0: none, and the module halves the size)
MODULES = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


def shapes(width=1.0, classes=1000):
    """The shapes of the blobs of each layer."""
    found = {}

    def convolution(name, inputs, outputs, size=1):
        found[name] = [(outputs, inputs, size, size)]
        found[f"{name}/bn"] = [(outputs,), (outputs,), (1,)]
        found[f"{name}/bn/scale"] = [(outputs,), (outputs,)]

    def scaled(channels):
        return round(channels * width)

    convolution("conv1/7x7_s2", 3, scaled(64), 7)
    convolution("conv2/3x3_reduce", scaled(64), scaled(64))
    convolution("conv2/3x3", scaled(64), scaled(192), 3)
    inputs = scaled(192)
    for module, widths in MODULES.items():
        single, reduced, simple, doubly_reduced, double, projected = map(scaled, widths)
        name = f"inception_{module}"
        if single:
            convolution(f"{name}/1x1", inputs, single)
        convolution(f"{name}/3x3_reduce", inputs, reduced)
        convolution(f"{name}/3x3", reduced, simple, 3)
        convolution(f"{name}/double3x3_reduce", inputs, doubly_reduced)
        convolution(f"{name}/double3x3a", doubly_reduced, double, 3)
        convolution(f"{name}/double3x3b", double, double, 3)
        if projected:
            convolution(f"{name}/pool_proj", inputs, projected)
        inputs = single + simple + double + (projected or inputs)
        found[f"{name}_1x1_down"] = [(inputs // 16, inputs, 1, 1), (inputs // 16,)]
        found[f"{name}_1x1_up"] = [(inputs, inputs // 16, 1, 1), (inputs,)]
    return found | {"classifier": [(classes, inputs), (classes,)]}


def test_every_blob_of_the_release_has_its_place():
    blobs = {
        name: [np.broadcast_to(np.float32(1), shape) for shape in own]
        for name, own in shapes().items()
    }
    assert classes_of(blobs) == 1000
    variables = from_caffe(blobs, create_model("sebn_inception"))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 11_931_622


def caffes_inception(blobs, images):
    """The prototxt's graph; its last pool has the size of its input."""
    net = Caffe(blobs)

    def pooled(x, strides=2):
        """Maxima of 3x3: sizes rounded up without padding, or kept with it."""
        edges = (0, strides - 1) if strides == 2 else (1, 1)
        padded = np.pad(x, ((0, 0), (0, 0), edges, edges), constant_values=-np.inf)
        return windows(padded)[:, :, ::strides, ::strides].max((4, 5))

    def windows(x):
        return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))

    x = pooled(net.convolved(images, "conv1/7x7_s2", 2))
    x = pooled(net.convolved(net.convolved(x, "conv2/3x3_reduce"), "conv2/3x3"))
    for module in MODULES:
        name = f"inception_{module}"
        strides = 2 if module in ("3c", "4e") else 1
        ends = [] if strides == 2 else [net.convolved(x, f"{name}/1x1")]
        ends.append(net.convolved(net.convolved(x, f"{name}/3x3_reduce"), f"{name}/3x3", strides))
        y = net.convolved(net.convolved(x, f"{name}/double3x3_reduce"), f"{name}/double3x3a")
        ends.append(net.convolved(y, f"{name}/double3x3b", strides))
        if strides == 2:
            ends.append(pooled(x))
        elif module == "5b":
            ends.append(net.convolved(pooled(x, 1), f"{name}/pool_proj"))
        else:  # the mean of nine, padding counts
            y = windows(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))).mean((4, 5))
            ends.append(net.convolved(y, f"{name}/pool_proj"))
        x = net.gated(np.concatenate(ends, axis=1), name)
    return net.classified(x)


def test_a_file_of_the_release_is_loaded_and_computes_what_caffe_computes(written):
    """A narrow twin, 7 classes, statistics that are to be divided by 2."""
    rng = np.random.default_rng(0)
    twin = shapes(width=0.125, classes=7)
    blobs = {
        name: [seeded.tensor(f"{name}.{i}.weight", shape) for i, shape in enumerate(own)]
        for name, own in twin.items()
    }
    for name in blobs:
        if name.endswith("/bn"):
            mean, var = rng.normal(scale=0.2, size=(2, *twin[name][0])).astype(np.float32)
            blobs[name] = [2 * mean, 2 * np.exp(var), np.float32([2])]
    path = written(blobs)
    with pytest.raises(ValueError, match=r"does not say .*x\.caffemodel', 'sebn_inception'\)"):
        load(path)
    model, variables = load(path, "sebn_inception", width=0.125)
    assert model == create_model("sebn_inception", width=0.125, num_classes=7)
    assert class_names_for(path, "sebn_inception") is None

    preprocess = preprocess_for(path, "sebn_inception")
    assert (preprocess.size, preprocess.crop) == ((224, 224), 0.875)
    preprocess = dataclasses.replace(preprocess, size=(64, 64), crop=1.0)
    pixels = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    with jax.default_matmul_precision("highest"):
        got = jax.jit(model.apply)(variables, preprocess(pixels))
    expected = caffes_inception(blobs, caffes_pixels(pixels.astype(np.float64)))
    # float32 sums of two libraries: 3e-7 here
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_files_of_the_releases_other_networks_are_refused(written):
    with pytest.raises(ConversionError, match=r"others of its release are timm's, senet_jax\.load"):
        load(written(toy_blobs()), "legacy_seresnet50")
    with pytest.raises(
        ConversionError, match=r"missing inception_3a/1x1/bn\.0, .*unexpected conv1/3x3_s2\.0, "
    ):
        load(written(toy_blobs()), "sebn_inception")
    with pytest.raises(ValueError, match=r"download SE-BN-Inception\.caffemodel from https"):
        load("sebn_inception")
