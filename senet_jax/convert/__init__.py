"""Other people's weights, in and out; one file per source, one table per family."""

from senet_jax.convert.caffe import from_caffe
from senet_jax.convert.caffe_file import read_caffemodel
from senet_jax.convert.moskomule import from_moskomule
from senet_jax.convert.tables import ConversionError
from senet_jax.convert.timm import from_timm, to_timm
from senet_jax.convert.timm_folder import export_timm
from senet_jax.convert.weights_file import read_weights

__all__ = [
    "from_timm",
    "to_timm",
    "export_timm",
    "from_moskomule",
    "from_caffe",
    "read_weights",
    "read_caffemodel",
    "ConversionError",
]
