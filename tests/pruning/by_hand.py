"""Small networks in NumPy and float64, with channels masked: what the cut networks must compute.

A masked channel has the gate 0; what reads it gets the mean, over all positions, of what the
channel's constant would give; and the attention is told the channel's mean squeeze.
"""

from typing import NamedTuple

import numpy as np
from flax import traverse_util


class Mask(NamedTuple):
    """What a block has lost: channels, what stays of their outputs and squeezes (`[removed]`)."""

    removed: np.ndarray
    constants: np.ndarray
    squeezes: np.ndarray


def conv(x, kernel, strides=1):
    """Full or depthwise, padded as torch does."""
    height, width = kernel.shape[:2]
    pad = ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0))
    padded, total = np.pad(x, pad), 0
    for i in range(height):
        for j in range(width):
            seen = padded[:, i : i + x.shape[1] : strides, j : j + x.shape[2] : strides]
            depthwise = kernel.shape[2] == 1 and x.shape[-1] > 1
            total = total + (seen * kernel[i, j, 0] if depthwise else seen @ kernel[i, j])
    return total


def relu(x):
    return np.maximum(x, 0)


class Network:
    """A ResNet with the stem "cifar", or a MobileNet with the head "plain" and ReLU.

    Attributes:
      seen: by block, what went through it: u before the gates, z, s, and y that is read next.
    """

    def __init__(self, model, variables):
        self.model = model
        tree = {k: variables[k] for k in ("params", "batch_stats")}
        flat = traverse_util.flatten_dict(tree, sep="/")
        self.values = {path: np.asarray(v, np.float64) for path, v in flat.items()}
        self.seen = {}

    def logits(self, images, masks=None, factors=None):
        """`[N, classes]`; `factors` [C] by block multiply the gates."""
        self.masks, self.factors = masks or {}, factors or {}
        mobile = hasattr(self.model, "stages")
        x = conv(np.asarray(images, np.float64), self.kernel("stem/conv1"), 2 if mobile else 1)
        x = relu(self.norm("stem/bn1", x))
        if mobile:
            blocks = [(f"stage{i + 1}/block1", rows[0]) for i, rows in enumerate(self.model.stages)]
            for block, row in blocks:
                x = self.mobile_block(block, row, x)
        else:
            for i, size in enumerate(self.model.stage_sizes):
                for j in range(size):
                    block = f"stage{i + 1}/block{j + 1}"
                    x = self.residual_block(block, x, 2 if i and not j else 1)
        head = x.mean((1, 2)) @ self.values["params/head/fc/kernel"]
        return head + self.values["params/head/fc/bias"]

    def residual_block(self, block, x, strides):
        three = f"params/{block}/conv3/kernel" in self.values
        last, inner, y = (3, 2, x) if three else (2, 1, x)
        if three:
            y = relu(self.norm(f"{block}/bn1", conv(x, self.kernel(f"{block}/conv1"))))
        u = self.norm(f"{block}/bn{inner}", conv(y, self.kernel(f"{block}/conv{inner}"), strides))
        where = {"3x3": inner, "standard": last}[self.model.placement]
        if where == inner:
            u = self.gated(block, u)
        y = self.read(block, relu(u), last, masked=where == inner or self.model.attention is None)
        y = self.norm(f"{block}/bn{last}", y)
        if where == last:
            y = self.gated(block, y)
        if f"params/{block}/shortcut_conv/kernel" in self.values:
            x = conv(x, self.kernel(f"{block}/shortcut_conv"), strides)
            x = self.norm(f"{block}/shortcut_bn", x)
        return relu(x + y)

    def mobile_block(self, block, row, x):
        y, last = x, {"inverted": 3, "fused": 2, "separable": 2}[row.kind]
        for i, name in enumerate(
            {
                "inverted": ("expand_conv", "depthwise_conv"),
                "fused": ("fused_conv",),
                "separable": ("depthwise_conv",),
            }[row.kind]
        ):
            strides = row.strides if i == last - 2 else 1
            y = relu(
                self.norm(f"{block}/bn{i + 1}", conv(y, self.kernel(f"{block}/{name}"), strides))
            )
        y = self.gated(block, y)
        consumer = "pointwise_conv" if row.kind == "separable" else "project_conv"
        y = self.norm(f"{block}/bn{last}", self.read(block, y, consumer, masked=True))
        return y + x if row.strides == 1 and x.shape[-1] == y.shape[-1] else y

    def gated(self, block, u):
        if f"params/{block}/se/fc1/kernel" not in self.values:
            return u
        z = u.mean((1, 2))
        self.seen.setdefault(block, {}).update(u=u, z=z)
        mask = self.masks.get(block)
        if mask is not None:
            z = z.copy()
            z[:, mask.removed] = mask.squeezes
        hidden = relu(self.dense(f"{block}/se/fc1", z))
        s = self.gate(self.dense(f"{block}/se/fc2", hidden))
        if mask is not None:
            s[:, mask.removed] = 0
        self.seen[block]["s"] = s
        return u * (s * self.factors.get(block, 1.0))[:, None, None]

    def gate(self, x):
        return x if self.model.attention.gate == "identity" else 1 / (1 + np.exp(-x))

    def read(self, block, y, consumer, masked):
        """The next convolution of `y`."""
        name = f"{block}/conv{consumer}" if isinstance(consumer, int) else f"{block}/{consumer}"
        self.seen.setdefault(block, {})["y"] = y
        mask = self.masks.get(block) if masked else None
        if mask is None:
            return conv(y, self.kernel(name))
        alone, constant = y.copy(), np.zeros_like(y[:1])
        alone[..., mask.removed], constant[..., mask.removed] = 0, mask.constants
        given = conv(constant, self.kernel(name)).mean((1, 2), keepdims=True)
        return conv(alone, self.kernel(name)) + given

    def kernel(self, name):
        return self.values[f"params/{name}/kernel"]

    def dense(self, name, z):
        return z @ self.kernel(name) + self.values.get(f"params/{name}/bias", 0)

    def norm(self, name, x):
        scale, bias = (self.values[f"params/{name}/{leaf}"] for leaf in ("scale", "bias"))
        mean, var = (self.values[f"batch_stats/{name}/{leaf}"] for leaf in ("mean", "var"))
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias
