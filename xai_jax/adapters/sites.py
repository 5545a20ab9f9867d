"""Lists of what an adapted network rewrites, and of rectifiers to which no backward rule applies."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Site(NamedTuple):
    """A rectifier of a model, and whether backward rules apply to it.

    `where` is the path of its module, as far as JAX records it, and the line of its source.

    >>> Site("leaky ReLU", (2, 8, 8, 4), "Model/Block_0 at model.py:12", rule=False).kind
    'leaky ReLU'
    """

    kind: str
    shape: tuple[int, ...]
    where: str
    rule: bool


class Sites(dict[str, int]):
    """Number of sites by kind; `rectifiers` lists each rectifier.

    >>> Sites({"relu": 2}).rectifiers
    ()
    """

    def __init__(self, counts: Mapping[str, int], rectifiers: Sequence[Site] = ()):
        super().__init__(counts)
        self.rectifiers = tuple(rectifiers)


def require_rules(relus: int, found: Sequence[Site]) -> None:
    """Raises ValueError unless there are ReLUs and no rectifiers without a rule.

    >>> require_rules(1, [Site("relu", (2, 3), "", rule=True)])
    """
    others = [site for site in found if not site.rule]
    if relus and not others:
        return
    names = ", ".join(f"{site.kind} ({site.where[-75:]})" for site in others[:3])
    if len(others) > 3:
        names += f" and {len(others) - 3} more"
    if not relus:
        found_instead = f" Found: {names}." if others else ""
        raise ValueError(
            "Expected a model with ReLUs, to which the backward rule applies, found none. Usual causes: another "
            "activation function, or ReLUs written as a bare maximum(x, 0); for those pass relu_patterns=('max',)."
            + found_instead
        )
    raise ValueError(
        f"Expected rectifiers to which the backward rule applies, found {relus} by jax.nn.relu and {len(others)} that "
        f"would keep their own gradient: {names}. max(x, 0) as one maximum, where, clip or product gets the rule with "
        "relu_patterns=('max',); others have none. adapt.sites(net, x) lists all."
    )
