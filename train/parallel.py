"""Where arrays live and how a step runs over the devices. Nothing else in the trainer knows."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
MODES = ("jit", "pmap")


class Devices:
    """The devices of a run, all of them alike: state whole on each, batches split over them.

    Under "jit" a batch is one global array and XLA adds the communication; under "pmap" every
    device runs the step on its share, and the step itself averages over `axis_name`. The state
    looks the same in both, so a checkpoint doesn't tell.

    Attributes:
      axis_name: what the step averages over; None under jit.
    """

    def __init__(self, mode: str = "jit", devices: Sequence[jax.Device] | None = None):
        self.devices = list(jax.devices() if devices is None else devices)
        self.axis_name = AXIS if mode == "pmap" else None
        # Auto: explicit axes refuse dropout, reshapes over the batch and, in newer jax, the loss.
        mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec(AXIS))

    def __len__(self) -> int:
        return len(self.devices)

    def born(self, init: Callable[..., Any], *arguments: Any) -> Any:
        """`init(*arguments)`, computed in place on every device: a copy made by device_put could
        share a buffer with its source, and donating the one would delete the other."""
        # XLA for CPUs takes three times as long to optimise the initialisers, which run once.
        quick = {"xla_backend_optimization_level": 0} if self.devices[0].platform == "cpu" else None
        return jax.jit(init, out_shardings=self._whole, compiler_options=quick)(*arguments)

    def abstract(self, init: Callable[..., Any], *arguments: Any) -> Any:
        """Shapes, dtypes and places of `born(init, *arguments)`, to restore a checkpoint to."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._whole),
            jax.eval_shape(init, *arguments),
        )

    def put_whole(self, tree: Any) -> Any:
        """A tree of arrays, whole on every device. Don't donate the result."""
        if self._whole.is_fully_addressable:
            return jax.device_put(tree, self._whole)
        return jax.tree.map(  # each process has all of it, and no device gets it from another's
            lambda x: jax.make_array_from_process_local_data(self._whole, np.asarray(x)), tree
        )

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """This process's slice of a batch [b, ...] as a global array, split over the devices."""
        if self.axis_name is not None:
            local = len(self._whole.addressable_devices)
            batch = {name: x.reshape(local, -1, *x.shape[1:]) for name, x in batch.items()}
        return {
            name: jax.make_array_from_process_local_data(self._split, x)
            for name, x in batch.items()
        }

    def abstract_batch(self, shapes: dict[str, tuple[tuple[int, ...], Any]]) -> dict[str, Any]:
        """What `put` makes of batches of these shapes and dtypes, without one."""
        count = len(self)
        if self.axis_name is not None:
            shapes = {
                k: ((count, s[0] // count, *s[1:]), dtype) for k, (s, dtype) in shapes.items()
            }
        return {
            name: jax.ShapeDtypeStruct(shape, dtype, sharding=self._split)
            for name, (shape, dtype) in shapes.items()
        }

    def describe(self) -> str:
        """`8 x NVIDIA H100 80GB HBM3 (jit)`."""
        kinds = ", ".join(sorted({device.device_kind for device in self.devices}))
        return f"{len(self)} x {kinds} ({'jit' if self.axis_name is None else 'pmap'})"

    def compile(self, step: Callable[..., Any], *, donate: bool = False) -> Callable[..., Any]:
        """`step(state, batch)` over all devices: state and results whole, the batch split.

        Args:
          donate: give the state's memory to the results; the state passed in is gone then.
        """
        donated = (0,) if donate else ()
        if self.axis_name is not None:
            return jax.pmap(
                step,
                axis_name=self.axis_name,
                in_axes=(None, 0),
                out_axes=None,
                devices=self.devices,
                donate_argnums=donated,
            )
        return jax.jit(step, out_shardings=self._whole, donate_argnums=donated)
