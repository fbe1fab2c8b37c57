"""What any weights get right and wrong: `python -m train.evaluate`."""
