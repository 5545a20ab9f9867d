"""Explaining, visualising and inverting neural networks in JAX: each method a small pure function of a network."""

__version__ = "0.1.0"
