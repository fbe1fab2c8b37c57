"""What the Caffe release (hujie-frank/SENet) calls the layers of SE-BN-Inception.

A row is the name of a module here, that of a layer there, and its kind, see `caffe`; for a norm it
is the layer of the convolution before it.
"""

from collections.abc import Iterator

NamedLayer = tuple[str, str, str]

# the convolutions of a module's branches; where the grid is halved, of the two in the middle
BRANCHES = (
    ("1x1",),
    ("3x3_reduce", "3x3"),
    ("double3x3_reduce", "double3x3a", "double3x3b"),
    ("pool_proj",),
)
STAGES = (("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b"))
HALVING = ("3c", "4e")


def _sebn_inception() -> Iterator[NamedLayer]:
    for i, theirs in enumerate(("conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3"), 1):
        yield from _unit("stem", i, theirs)
    for s, stage in enumerate(STAGES, 1):
        for b, module in enumerate(stage, 1):
            ours = f"stage{s}/block{b}"
            branches = BRANCHES[1:-1] if module in HALVING else BRANCHES
            for k, names in enumerate(branches, 1):
                for i, name in enumerate(names, 1):
                    yield from _unit(f"{ours}/branch{k}", i, f"inception_{module}/{name}")
            yield f"{ours}/se/fc1", f"inception_{module}_1x1_down", "dense_as_conv"
            yield f"{ours}/se/fc2", f"inception_{module}_1x1_up", "dense_as_conv"
    yield "head/fc", "classifier", "dense"


def _unit(ours: str, number: int, theirs: str) -> Iterator[NamedLayer]:
    """A convolution and its norm."""
    yield f"{ours}/conv{number}", theirs, "conv"
    yield f"{ours}/bn{number}", theirs, "norm"


SEBN_INCEPTION: tuple[NamedLayer, ...] = tuple(_sebn_inception())
