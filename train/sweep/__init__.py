"""Several variants, several seeds, one table: `python -m train.sweep`."""
