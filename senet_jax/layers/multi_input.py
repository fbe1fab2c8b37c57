"""Several inputs of equal shape, different expressions of one signal, weighed channel by channel
and added; and layers that make such inputs of one.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import AffineMap, Features, finish
from senet_jax.layers.activations import activation, gate
from senet_jax.layers.conv import Conv
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.se import reduced_channels

__all__ = ["MultiDense", "MultiInputSE", "MultiKernelConv"]

ARRANGEMENTS = ("weighted", "parallel", "serial")


def squeeze_sum(inputs: Sequence[Features]) -> jax.Array:
    """The squeeze of the inputs' sum, `[N, C]`, float32. Means are linear: the sum is not made."""
    return reduce(jnp.add, map(fused.squeeze, inputs))


def weighted_sum(inputs: Sequence[Features], gates: jax.Array) -> Features:
    """K inputs `[N, *spatial, C]` times their gates `[N, K, C]`, added: `[N, *spatial, C]`.

    An array, but for a single deferred input, which stays deferred.
    """
    weighed = [fused.scale(x, gates[:, k]) for k, x in enumerate(inputs)]
    return reduce(partial(finish, act=None), weighed)


def softmax_over_inputs(logits: jax.Array) -> jax.Array:
    """`[N, K, C]`: the gates of a channel sum to one."""
    return jax.nn.softmax(logits, axis=1)


class MultiInputSE(nn.Module):
    """Squeeze-and-excitation of K inputs: a sequence of `[N, *spatial, C]` -> `[N, *spatial, C]`,
    of the inputs' dtype.

        z = mean over positions of the sum of all X_k        [N, C]
        s = gate(W2 act(W1 z + b1) + b2), C -> C/2 -> K C     [N, K, C]
        y = sum of s_k X_k

    With one input and `gate="sigmoid"` it is `SEBlock(reduction=2)`, with the same variables.
    Inputs may be deferred, and the means then cost no pass over memory. Vectors `[N, C]`, which
    have no positions, work alike.

    Sigmoids weigh: a channel may take all of every input, or nothing. A softmax over the inputs
    selects: its gates sum to one. With logits of 0, sigmoids give half of the sum, which is K / 2
    times the mean, and the softmax gives the mean. The inputs should have one scale, as behind a
    norm each, or the sum that is squeezed is that of the largest.

    Sows "gates" `[N, K, C]`, float32. Parameters at C = 256: 98,944 for K = 2, 131,968 for K = 3.

    Attributes:
      reduction: the ratio between C and the width of the hidden layer.
      act, use_bias: as in `SEBlock`.
      gate: "softmax" is over the inputs; or another name from `senet_jax.layers.activations`.
    """

    reduction: int = 2
    act: str = "relu"
    gate: str = "sigmoid"
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def gates(self, z: jax.Array, inputs: int) -> jax.Array:
        """The gates of the squeezed sum of so many inputs: `[N, C]` -> `[N, K, C]`, float32."""
        channels = z.shape[-1]
        dense = partial(nn.Dense, use_bias=self.use_bias, param_dtype=self.param_dtype)
        hidden = dense(reduced_channels(channels, self.reduction), name="fc1")(z)
        logits = dense(inputs * channels, name="fc2")(activation(self.act)(hidden))
        logits = logits.reshape(-1, inputs, channels)
        s = softmax_over_inputs(logits) if self.gate == "softmax" else gate(self.gate)(logits)
        self.sow("intermediates", "gates", s)
        return s

    def __call__(self, inputs: Sequence[Features]) -> Features:
        check_inputs(inputs)
        if self.gate == "softmax" and len(inputs) == 1:
            raise ValueError(
                "gate='softmax' of a single input is 1 whatever the input is: give several inputs,"
                " or choose gate='sigmoid'."
            )
        return weighted_sum(inputs, self.gates(squeeze_sum(inputs), len(inputs)))


def check_inputs(inputs: Sequence[Features]) -> None:
    """Refuses what isn't a sequence of features of equal shape.

    Raises:
      ValueError: an array as a whole, nothing, or shapes that differ.
    """
    if isinstance(inputs, AffineMap) or hasattr(inputs, "shape"):
        raise ValueError(
            "inputs is one array, expected a sequence of K arrays [N, *spatial, C]: give (x1, x2),"
            " or tuple(x) of an array that has them along its first axis."
        )
    shapes = [x.x.shape if isinstance(x, AffineMap) else x.shape for x in inputs]
    if len(set(shapes)) != 1:
        raise ValueError(
            f"inputs have the shapes {', '.join(map(str, shapes)) or '(none)'}, expected one or"
            " more of equal shape [N, *spatial, C]."
        )


class MultiKernelConv(nn.Module):
    """K convolutions of different kernel sizes, each with norm and ReLU: `[N, H, W, C]` -> `[N,
    ceil(H / strides), ceil(W / strides), features]`.

    `SelectiveKernel` is its published relative, with a softmax and a narrower hidden layer. As
    `inner` of a residual network it stands in place of the blocks' 3x3 convolutions.

    Attributes:
      features: channels of every convolution and of the output; None: as many as the input has.
      strides, groups: of the convolutions.
      kernel_sizes: odd, one for each convolution.
      arrangement: "weighted", all see the input and `attention` weighs them together; "parallel",
        all see the input, each has an `attention` of its own and the outputs are added; "serial",
        each sees what the one before and its `attention` gave, and the first has the stride.
      attention: an unbound `MultiInputSE`; of one input it is an SE block.
      conv: makes convolutions, `Conv` or one with its dtypes bound; residual blocks give theirs.
      norm: an unbound `BatchNorm` as template; likewise.
    """

    features: int | None = None
    strides: int = 1
    groups: int = 1
    kernel_sizes: tuple[int, ...] = (3, 5)
    arrangement: str = "weighted"
    attention: MultiInputSE = MultiInputSE()
    conv: Callable[..., nn.Module] = Conv
    norm: BatchNorm = BatchNorm()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = self.features or x.shape[-1]
        if not self.kernel_sizes or any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(
                f"kernel_sizes={self.kernel_sizes}, expected one or more odd numbers: the outputs"
                " of even ones differ in size."
            )

        def layer(i: int, x: jax.Array) -> jax.Array:
            strides = 1 if self.arrangement == "serial" and i > 1 else self.strides
            size = self.kernel_sizes[i - 1]
            y = self.conv(features, size, strides, self.groups, name=f"conv{i}")(x)
            return finish(self.norm.clone(name=f"bn{i}", parent=self)(y))

        return arranged(self, x, layer, len(self.kernel_sizes))


class MultiDense(nn.Module):
    """K dense layers, each with norm and ReLU: `[N, C]` -> `[N, features]`.

    Attributes:
      features: of every layer and of the output; None: as many as the input has.
      branches: K.
      arrangement, attention, norm: as in `MultiKernelConv`.
      dtype: of the computation; gates are float32.
    """

    features: int | None = None
    branches: int = 2
    arrangement: str = "weighted"
    attention: MultiInputSE = MultiInputSE()
    norm: BatchNorm = BatchNorm()
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if x.ndim != 2:
            raise ValueError(
                f"features have shape {x.shape}, expected vectors [N, C]: for images choose"
                " MultiKernelConv."
            )
        dense = partial(
            nn.Dense, self.features or x.shape[-1], dtype=self.dtype, param_dtype=self.param_dtype
        )

        def layer(i: int, x: jax.Array) -> jax.Array:
            y = dense(use_bias=False, name=f"fc{i}")(x)
            return finish(self.norm.clone(name=f"bn{i}", parent=self)(y))

        return arranged(self, x, layer, self.branches)


def arranged(
    module: Any, x: jax.Array, layer: Callable[[int, jax.Array], jax.Array], count: int
) -> jax.Array:
    """Layers 1 to `count`, arranged and attended to as the module says.

    Raises:
      ValueError: it says something unknown.
    """

    def attended(inputs: Sequence[jax.Array], name: str) -> jax.Array:
        return module.attention.clone(name=name, parent=module)(inputs)

    numbers = range(1, count + 1)
    match module.arrangement:
        case "weighted":
            return attended([layer(i, x) for i in numbers], "se")
        case "parallel":
            return reduce(jnp.add, [attended([layer(i, x)], f"se{i}") for i in numbers])
        case "serial":
            return reduce(lambda x, i: attended([layer(i, x)], f"se{i}"), numbers, x)
    raise ValueError(
        f"Unknown arrangement {module.arrangement!r}: expected"
        f" {', '.join(map(repr, ARRANGEMENTS))}."
    )
