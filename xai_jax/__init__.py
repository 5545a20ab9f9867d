"""Explaining, visualising and inverting image networks in JAX."""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "core": "allocation network targets rules pooling convolution pytrees batching streaming",
    "adapters": "adapt",
    "attribution": "saliency metrics occlusion sanity_checks",
    "units": "deconvnet receptive_field",
    "synthesis": "activation_maximisation cppn dgn_am fooling hog_dsift inversion learned_inversion multifaceted "
    "optimize parametrisation priors realism transforms",
    "concepts": "activation_cache cav gram sampling significance tcav",
}
_PACKAGES = ("data", "gallery", "io", "models", "plots", "training", "weights", *_MODULES)
_PATHS = {name: f"{package}.{name}" for package, names in _MODULES.items() for name in names.split()}
_PATHS |= {name: name for name in _PACKAGES}

__all__ = list(_PATHS)


def __getattr__(name: str):
    """Imports a module on first use, so that importing one method brings in no other."""
    if name not in _PATHS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{_PATHS[name]}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PATHS])
