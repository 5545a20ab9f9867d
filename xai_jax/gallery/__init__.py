"""The gallery: HTML pages from a folder of results, self-contained in that folder.

`python -m xai_jax.gallery results` reads every `results/<paper>/<figure>/metrics.json` and writes `results/index.html`
(the methods and all figures), `figures.html`, `claims.html`, a page beside each `metrics.json`, and `units.html`, see
`explorer`.
"""

from xai_jax.gallery.build import build
from xai_jax.gallery.results import ResultsError

__all__ = ["ResultsError", "build"]
