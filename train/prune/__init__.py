"""A network without most of its channels: `python -m train.prune`."""
