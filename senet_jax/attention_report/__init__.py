"""A report on what the channel attention of a network does: pictures, a table, and one page."""

from senet_jax.attention_report.write import PAGE, Subject, write_report

__all__ = ["PAGE", "Subject", "write_report"]
