"""Figures that show names of classes, concepts, layers and files as they are, whatever they hold.

Matplotlib takes text between two dollars for mathematics, and raises only when the figure is drawn: at the end of a
run, where `$\\\\frac$` is no formula, or where a name that is not UTF-8 has no letters.
"""

import matplotlib.figure
from matplotlib.axis import Axis, Tick
from matplotlib.backend_bases import RendererBase
from matplotlib.category import StrCategoryFormatter
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

from xai_jax.io.text import encodable

NAMED = FixedFormatter, FuncFormatter, StrCategoryFormatter  # of ticks with names; all others write numbers


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure in which no text is mathematics except the numbers at ticks, such as powers of ten.

    Lone surrogates, which fonts cannot draw, are escaped.

    >>> from io import BytesIO
    >>> figure = Figure(figsize=(2, 2))
    >>> title = figure.subplots().set_title(r"$\\frac$ \\udce9")
    >>> figure.savefig(BytesIO())
    >>> title.get_text(), title.get_parse_math()
    ('$\\\\frac$ \\\\udce9', False)
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draws the figure; all ways to save and to show it lead here."""
        for axis in self.findobj(Axis):
            for formatter, change in (
                (axis.get_major_formatter(), axis.set_major_formatter),
                (axis.get_minor_formatter(), axis.set_minor_formatter),
            ):
                if isinstance(formatter, NAMED) and not isinstance(formatter, _Names):
                    change(_Names(formatter))
        ticks = {label for tick in self.findobj(Tick) for label in (tick.label1, tick.label2)}
        numbers = ticks | {axis.offsetText for axis in self.findobj(Axis)}
        for text in set(self.findobj(Text)) - numbers:
            text.set_parse_math(False)
            text.set_text(encodable(text.get_text()))
        super().draw(renderer)


class _Names(FuncFormatter):
    """Names at ticks, with dollars escaped: matplotlib makes ticks when it needs them, and each may parse its text."""

    def __init__(self, names):
        super().__init__(lambda value, number: encodable(str(names(value, number))).replace("$", r"\$"))
