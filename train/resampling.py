"""Images at places between their pixels."""

import jax
import jax.numpy as jnp


def bilinear(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """image [H, W, C] at places y, x [...] -> [..., C], as if it had zeros all around."""
    h, w, c = image.shape
    pixels = jnp.pad(image, [(1, 1), (1, 1), (0, 0)]).reshape(
        -1, c
    )  # one zero on each side will do
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = (y - top)[..., None], (x - left)[..., None]

    def at(row: jax.Array, column: jax.Array) -> jax.Array:
        row = jnp.clip(row.astype(jnp.int32) + 1, 0, h + 1)
        column = jnp.clip(column.astype(jnp.int32) + 1, 0, w + 1)
        return pixels[row * (w + 2) + column]

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
