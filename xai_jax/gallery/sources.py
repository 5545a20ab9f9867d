"""Sources of the papers' numbers, by the tags of `sources.toml`."""

import tomllib
from pathlib import Path

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
KINDS, SOURCES = _TEXTS["kinds"], _TEXTS["sources"]


def shown_tag(tag: str | None) -> str:
    """A tag as the page prints it; one without a known kind of source is marked "unverified".

    >>> shown_tag("[V:ZF §5.1]"), shown_tag("M"), shown_tag(None)
    ('V:ZF §5.1', 'M, unverified', 'unverified')
    """
    tag = (tag or "").strip("[] ")
    if tag[:1] in KINDS and tag[1:2] in ("", ":"):
        return tag
    return f"{tag}, unverified" if tag else "unverified"


def meaning(shown: str) -> str:
    """The meaning of a tag from `shown_tag`.

    >>> meaning("V:ZF")
    'verified in the paper, arXiv 1311.2901'
    """
    if shown.endswith("unverified"):
        return "from memory, with no source that we could check: a hint, not a reference"
    kind, _, source = shown.partition(":")
    key = source.split(" ")[0]
    return KINDS[kind].format(SOURCES.get(key, f"the source “{key}”" if key else "a source that is not named"))
