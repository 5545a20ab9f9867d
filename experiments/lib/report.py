"""What an experiment returns: numbers beside the paper's, claims with verdicts, figures, and further files."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.lib.statistics import Threshold, Verdict, t_test
from xai_jax.core.messages import quoted
from xai_jax.io.text import encodable
from xai_jax.plots.figure import Figure


@dataclasses.dataclass(frozen=True)
class Number:
    """A result beside the paper's, with the paper's tag in the fact sheet ("M" is shown as unverified)."""

    name: str
    value: float | int | str | None
    spread: float | None = None
    unit: str = ""
    paper: float | str | None = None
    paper_tag: str | None = None
    note: str = ""

    def __post_init__(self):
        _make_encodable(self)

    @classmethod
    def mean(cls, name: str, values: Iterable[float], note: str = "", **fields: Any) -> "Number":
        """Mean and standard deviation of some values; NaN is left out.

        Args:
          name: of the number.
          values: to average.
          note: appended to the note with the number of values.
          **fields: unit, paper and paper_tag of the number.
        """
        values = np.asarray(values, np.float64)
        values = values[~np.isnan(values)]
        note = f"mean and standard deviation over {values.size}{note}"
        mean, spread = (values.mean(), values.std()) if values.size else (None, None)
        return cls(name, mean, spread, note=note, **fields)


def means(found: Mapping[str, Mapping[str, Iterable[float]]], names: Mapping[str, str]) -> list[Number]:
    """Means of named measures under each condition, called "name, condition"; `names` maps keys of `found` to names."""
    return [
        Number.mean(f"{name}, {condition}", each[key])
        for condition, each in found.items()
        for key, name in names.items()
    ]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim, its source, its verdict and what was measured, in words; the verdict's own text is appended to them."""

    text: str
    source: str
    verdict: Verdict | Threshold
    measured: str

    def __post_init__(self):
        if not isinstance(self.verdict, Verdict | Threshold):
            raise TypeError(f"Expected a Verdict or a Threshold for {quoted(self.text)}, got {quoted(self.verdict)}.")
        _make_encodable(self)

    def record(self) -> dict[str, Any]:
        """The claim as metrics.json stores it."""
        return {
            "claim": self.text,
            "source": self.source,
            "verdict": self.verdict.decision,
            "tested": getattr(self.verdict, "tested", False),
            "p": getattr(self.verdict, "p", None),
            "opposite_p": getattr(self.verdict, "opposite_p", None),
            "measured": "; ".join(filter(None, [self.measured, self.verdict.text])),
        }


def paired_claim(text: str, source: str, greater: tuple[np.ndarray, str], less: tuple[np.ndarray, str]) -> Claim:
    """A claim that one measure (N,) is above another over the same images; each with a description of what it is."""
    return Claim(text, source, t_test(greater[0], less[0]), f"{greater[1]}, {less[1]}")


@dataclasses.dataclass(frozen=True)
class Panel:
    """A matplotlib figure, saved as NAME.png; `alt` describes it for readers who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alt: str

    def __post_init__(self):
        _make_encodable(self)


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of an experiment; `files` maps paths below the working directory to contents."""

    numbers: Sequence[Number] = ()
    claims: Sequence[Claim] = ()
    panels: Sequence[Panel] = ()
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


def _make_encodable(record):
    """Escapes lone surrogates, of names that are not UTF-8, which neither JSON files nor pages of the gallery take."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, str):
            object.__setattr__(record, field.name, encodable(value))
