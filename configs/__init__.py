"""Experiments: one page each, `python -m train --config=configs/<page>.py[:variant]`."""
