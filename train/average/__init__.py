"""The mean of several checkpoints: `python -m train.average`."""
