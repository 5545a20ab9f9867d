"""Sources of the papers' numbers.

A tag is a letter for the kind of source and, for some letters, a colon and a key of `SOURCES`.
"""

KINDS = {
    "D": "printed in the lecture",
    "V": "verified in {}",
    "S": "quoted by {}",
    "C": "computed from verified facts",
}
SOURCES = {
    "ZF": "the paper, arXiv 1311.2901",
    "DG": "github.com/aravindhm/deep-goggle, the authors' code of 2015",
    "NP": "github.com/aravindhm/nnpreimage, the authors' code of 2016",
    "MVn": "public reading notes on arXiv 1412.0035",
    **dict.fromkeys(
        ("CS4240", "WTS", "LIT", "REPRO", "BMOD", "T1", "LARGE"), "public reproductions of and notes on arXiv 1412.6806"
    ),
    "BUDA": "github.com/mateuszbuda/ALL-CNN, a third-party re-implementation with its logs",
    "NEON": "github.com/NervanaSystems/neon, a third-party re-implementation",
    "PL2": "github.com/lisa-lab/pylearn2, which prepares the data",
    "SYN": "github.com/Evolving-AI-Lab/synthesizing, the authors' code",
    "KAM": "github.com/KamitaniLab/End2EndDeepImageReconstruction, after the authors' release",
    "ALEJU": "public reading notes on arXiv 1602.02644",
    "MFV": "github.com/Evolving-AI-Lab/mfv, the authors' code",
    "DVT": "github.com/yosinski/deep-visualization-toolbox",
    "FOOL": "github.com/Evolving-AI-Lab/fooling, the authors' code",
    "FOOLn": "public reading notes on arXiv 1412.1897",
    "MONT": "github.com/1202kbs/Understanding-NN, tutorial code for Montavon et al. 2018",
    "TCAVp": "the paper, ICML 2018",
    "TCAVc": "github.com/tensorflow/tcav, the authors' code",
    "TCAVn": "a public summary of the paper",
}


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
