"""Numbers, durations and verdicts as text."""

VERDICTS = {"supported": "supported", "not supported": "refuted", "inconclusive": "inconclusive"}
"""CSS classes of the decisions on claims."""
UNTESTED = "descriptive, not tested"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | str | None, digits: int = 4) -> str:
    """A value to `digits` significant digits; text unchanged, a dash for null.

    >>> number(1.3e-5), number(1234567)
    ('1.3 × 10⁻⁵', '1,234,567')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        text = f"{value:,}"
    elif 10**digits <= abs(value) < 1e15:
        text = f"{value:,.0f}"
    else:
        mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
        text = mantissa + (f" × 10{str(int(exponent)).translate(SUPERSCRIPTS)}" if exponent else "")
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """A duration in readable units.

    >>> duration(0.4), duration(200), duration(7530)
    ('0.4 s', '3 min 20 s', '2 h 6 min')
    """
    if seconds is None:
        return "not recorded"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"
