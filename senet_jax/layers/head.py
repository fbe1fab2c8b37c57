"""From the last features to logits."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import functional
from senet_jax.layers.activations import activation


class Head(nn.Module):
    """Global average pooling, dropout, classifier: `[N, H, W, C]` -> float32 logits `[N,
    num_classes]`.

    With `num_classes=0` it returns what would be classified, float32, and has no classifier.

    Attributes:
      hidden: channels of an activated layer after the pooling, as in MobileNetV3; 0: there is none.
      act: its activation, a name from `senet_jax.layers.activations`.
      hidden_bias, use_bias: of this layer, and of the classifier.
    """

    num_classes: int
    dropout: float = 0.0
    hidden: int = 0
    act: str = "relu"
    hidden_bias: bool = True
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if not isinstance(self.num_classes, int) or self.num_classes < 0:
            raise ValueError(
                f"num_classes={self.num_classes!r}, expected a whole number; 0 gives features."
            )
        # torch's default for linear layers, which the public networks keep: U(-1/sqrt(C),
        # 1/sqrt(C))
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        dense = partial(nn.Dense, kernel_init=init, param_dtype=self.param_dtype)
        x = functional.squeeze(x)
        if self.hidden:
            x = dense(self.hidden, use_bias=self.hidden_bias, name="hidden")(x)
            x = activation(self.act)(x)
        if self.num_classes == 0:
            return x
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.num_classes, use_bias=self.use_bias, name="fc")(x)
