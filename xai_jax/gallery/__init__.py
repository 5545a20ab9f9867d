"""The gallery: one self-contained HTML page from a folder of results.

`python -m xai_jax.gallery results` reads every `results/<paper>/<figure>/metrics.json` and writes `results/index.html`.
"""

from xai_jax.gallery.build import build
from xai_jax.gallery.results import ResultsError

__all__ = ["ResultsError", "build"]
