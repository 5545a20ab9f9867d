"""Text of users and data, such as class names and file names, as what it is: it need not be valid Unicode."""


def encodable(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, as in names of files that are not UTF-8, are escaped.

    >>> encodable("caf\\udce9"), encodable("café")
    ('caf\\\\udce9', 'café')
    """
    return text.encode(errors="backslashreplace").decode()
