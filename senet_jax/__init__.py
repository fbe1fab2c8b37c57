"""Squeeze-and-Excitation networks for JAX and Flax."""

__version__ = "0.1.0"
