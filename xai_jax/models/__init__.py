"""Networks to explain, by name: `models.load("efficientnet_lite0")`."""

from xai_jax.models.input_scaling import Input
from xai_jax.models.registry import LoadedModel, abstract, load, module, names, read_variables

__all__ = ["Input", "LoadedModel", "abstract", "load", "module", "names", "read_variables"]
