"""Networks to explain, by name: `models.load("efficientnet_lite0")`."""

from xai_jax.models.registry import (
    LoadedModel,
    abstract,
    imagenet_classes,
    load,
    module,
    names,
    read_variables,
    units,
)

__all__ = ["LoadedModel", "abstract", "imagenet_classes", "load", "module", "names", "read_variables", "units"]
