"""From the last features to logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import functional


class Head(nn.Module):
    """Global average pooling, dropout, classifier: `[N, H, W, C]` -> float32 logits `[N,
    num_classes]`.

    With `num_classes=0` it returns the pooled features `[N, C]`, float32, and has no variables.
    """

    num_classes: int
    dropout: float = 0.0
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        pooled = functional.squeeze(x)
        if self.num_classes == 0:
            return pooled
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        # torch's default for linear layers, which the public networks keep: U(-1/sqrt(C),
        # 1/sqrt(C))
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        return nn.Dense(
            self.num_classes,
            use_bias=self.use_bias,
            kernel_init=init,
            param_dtype=self.param_dtype,
            name="fc",
        )(pooled)
