"""A share of a split for another one, the same in every release."""

import numpy as np

from train.errors import WrongInput


def stratified(labels: np.ndarray, fraction: float, seed: int | tuple[int, ...]) -> np.ndarray:
    """Which examples of labels [n] make up the fraction: bool [n], of each class its share.

    Raises:
      WrongInput: a class has too few images to take some and leave some.
    """
    # The raw output of a bit generator, which no release of NumPy changes.
    draw = np.random.Philox(np.random.SeedSequence(seed)).random_raw(len(labels))
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(members)))
        if count >= len(members):
            raise WrongInput(
                f"Class number {label} has {len(members)} training images, too few to take {count}"
                " for validation: give a smaller --config.data.validation_fraction."
            )
        chosen[members[np.argsort(draw[members], kind="stable")[:count]]] = True
    return chosen
