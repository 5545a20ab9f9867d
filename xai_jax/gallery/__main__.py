"""`python -m xai_jax.gallery RESULTS` writes RESULTS/index.html."""

import argparse
import sys
from pathlib import Path

from xai_jax.gallery import ResultsError, build


def main(arguments: list[str] | None = None) -> int:
    """Builds the gallery and prints its front page's path; returns the exit status. Example: `main(["results"])`."""
    parser = argparse.ArgumentParser(prog="python -m xai_jax.gallery", description="Write RESULTS/index.html.")
    parser.add_argument("results", metavar="RESULTS", type=Path, help="folder with <paper>/<figure>/metrics.json")
    results = parser.parse_args(arguments).results
    try:
        print(build(results))
    except (ResultsError, OSError) as error:
        print(f"gallery: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
