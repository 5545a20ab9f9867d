"""From a folder of results to `index.html` in it."""

from pathlib import Path

from xai_jax.files import write_atomically
from xai_jax.gallery.page import page
from xai_jax.gallery.results import load


def build(results: str | Path) -> Path:
    """Writes `results/index.html` and returns its path.

    The page is replaced in one step: after an error the previous page, or none, is there.
    Raises `ResultsError` with every problem found in the results, and `OSError` if the folder cannot be written.
    """
    results = Path(results)
    target = results / "index.html"
    # Lone surrogates are legal in JSON and not in UTF-8; as character references they cannot stop the build.
    write_atomically(target, page(load(results)).encode("utf-8", "xmlcharrefreplace"))
    return target
