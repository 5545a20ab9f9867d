"""The contents of a page: sections of parts, each computed for all photographs at once, with what was left out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xai_jax.core.messages import excerpt
from xai_jax.synthesis.optimize import DivergedError

REFUSALS = (ValueError, NotImplementedError, DivergedError)  # what methods raise for networks that they do not explain


class Picture(NamedTuple):
    """An image (H, W, 3) uint8 with a title and a note; `wide` for charts, which take a whole row."""

    image: np.ndarray
    title: str
    note: str = ""
    wide: bool = False


class Table(NamedTuple):
    """A table of plain text; the first cell of a row is its heading."""

    header: list[str]
    rows: list[list[str]]


class Part(NamedTuple):
    """A part of a section: `compute()` gives pictures and tables for each photograph.

    `is_row`: whether its pictures make a row of their own, under its title.
    """

    title: str
    compute: Callable[[], list[list[Picture | Table]]]
    is_row: bool = False


class Section(NamedTuple):
    """A family of methods: its title, how to read its pictures, and its parts of a subject."""

    title: str
    about: str
    parts: Callable[..., list[Part]]


class Computed(NamedTuple):
    """A part with its contents by photograph; without any where it was left out, for a `reason`."""

    part: Part
    contents: list[list[Picture | Table]]
    reason: str = ""


def compute(part: Part) -> Computed:
    """The contents of a part, or the reason for which a method refuses the network.

    >>> compute(Part("gradient", lambda: [[]])).reason
    ''
    """
    try:
        return Computed(part, part.compute())
    except REFUSALS as error:
        return Computed(part, [], excerpt(error, 400))
