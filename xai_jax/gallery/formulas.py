"""The methods' formulas in MathML, from the papers' equations."""

from collections.abc import Callable


def _tag(name: str) -> Callable[..., str]:
    """A function that wraps its arguments in an element."""
    return lambda *parts: f"<{name}>{''.join(parts)}</{name}>"


name, symbol, number, row = (_tag(element) for element in ("mi", "mo", "mn", "mrow"))
below, above, both, fraction, text = (_tag(element) for element in ("msub", "msup", "msubsup", "mfrac", "mtext"))


def _formula(*parts: str) -> str:
    """A displayed formula."""
    return f'<math display="block">{"".join(parts)}</math>'


def _brackets(*parts: str, pair: str = "()") -> str:
    """Parts between a pair of brackets of constant size."""
    opening, closing = (f'<mo stretchy="false">{bracket}</mo>' for bracket in pair)
    return row(opening, *parts, closing)


def _squared_norm(*parts: str) -> str:
    """The squared Euclidean norm."""
    return both(_brackets(*parts, pair="‖‖"), number("2"), number("2"))


def _signal(layer):
    return above(name("R"), layer)


_ABOVE = row(name("l"), symbol("+"), number("1"))
_POSITIVE = _brackets(_signal(_ABOVE), symbol("&gt;"), number("0"), pair="[]")
_ACTIVE = _brackets(above(name("f"), name("l")), symbol("&gt;"), number("0"), pair="[]")
_X = _brackets(name("x"))
_BEST = above(name("x"), symbol("*"))


def _extreme(which, variable):
    return f'<munder><mo rspace="0.2em">{which}</mo>{name(variable)}</munder>'


_FEATURES = row(name("Φ"), _X)
_WANTED = row(name("Φ"), _brackets(below(name("x"), number("0"))))
_SCORE = below(name("S"), row(name("C"), symbol(","), name("k"), symbol(","), name("l")))
_CLASS = below(name("X"), name("k"))

DECONVNET = _formula(_signal(name("l")), symbol("="), _POSITIVE, symbol("·"), _signal(_ABOVE))
GUIDED = _formula(_signal(name("l")), symbol("="), _ACTIVE, symbol("·"), _POSITIVE, symbol("·"), _signal(_ABOVE))
INVERSION = _formula(
    *(_BEST, symbol("="), _extreme("argmin", "x")),
    fraction(_squared_norm(_FEATURES, symbol("−"), _WANTED), _squared_norm(_WANTED)),
    *(symbol("+"), name("λ"), name("ℛ"), _X),
)
GENERATOR = _formula(
    *(above(name("y"), symbol("*")), symbol("="), _extreme("argmax", "y")),
    *(below(name("Φ"), name("h")), _brackets(name("G"), _brackets(name("y")))),
    *(symbol("−"), name("λ"), _squared_norm(name("y"))),
)
FOOLING = _formula(_BEST, symbol("="), _extreme("argmax", "x"), below(name("p"), name("k")), _X)
TCAV = _formula(
    *(_SCORE, _X, symbol("="), symbol("∇"), below(name("h"), row(name("l"), symbol(","), name("k")))),
    *(_brackets(below(name("f"), name("l")), _X), symbol("·"), both(name("v"), name("C"), name("l"))),
) + _formula(
    *(text("TCAV"), symbol("=")),
    fraction(
        _brackets(
            _brackets(name("x"), symbol("∈"), _CLASS, symbol(":"), _SCORE, _X, symbol("&gt;"), number("0"), pair="{}"),
            pair="||",
        ),
        _brackets(_CLASS, pair="||"),
    ),
)
