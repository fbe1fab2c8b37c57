"""NVIDIA GPUs as XLA's compiler wants them described, from NVIDIA's data sheets."""

from typing import NamedTuple

import jax
from jax.experimental import topologies


class Card(NamedTuple):
    """A GPU.

    Attributes:
      bandwidth: of its memory, bytes/s.
      memory: bytes.
    """

    bandwidth: int
    memory: int


CARDS = {
    "h100": Card(3_352_320_000_000, 84_942_979_072),
    "h200": Card(4_800_000_000_000, 151_397_597_184),
}

# the text form of XLA's GpuTargetConfigProto
DESCRIPTION = """
gpu_device_info {{
  name: "{name}" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  memory_bandwidth: {card.bandwidth} device_memory_size: {card.memory}
  l2_cache_size: 52428800 pcie_bandwidth: 34359738368 ecc_enabled: true device_address_bits: 64
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 registers_per_core_limit: 65536
  threads_per_warp: 32 threads_per_core_limit: 2048
  threads_per_block_limit: 1024 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA" device_description_str: "{name}" dnn_version_info {{ major: 9 minor: 10 }}
"""


def device(name: str) -> jax.Device:
    """A card to compile for, which need not be there."""
    topology = topologies.get_topology_desc(
        platform="cuda",
        topology="1x1x1",
        target_config=DESCRIPTION.format(name=name, card=CARDS[name]),
    )
    return topology.devices[0]
