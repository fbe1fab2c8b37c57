"""Modules made of templates."""

import flax.linen as nn


def own(whole: nn.Module, field: str) -> nn.Module:
    """The part that a field of a bound module holds as a template, with variables of its own under
    the field's name.

    Flax makes one part, with one set of variables, of a template that several modules of a network
    hold, be it the default value of their field: `whole.squeeze(u)` shares its parameters among all
    blocks that were cloned from one attention. A copy doesn't.
    """
    part = getattr(whole, field)
    if part.parent is whole and part.name == field:
        return part
    return part.clone(name=field, parent=whole)
