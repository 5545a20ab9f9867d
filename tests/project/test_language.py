"""The project's vocabulary: words that the field has better terms for are kept out of code and prose.

python tests/project/test_language.py [PATH ...]    prints every finding
"""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("xai_jax", "experiments", "configs", "scripts", "tests", "docs", ".ci")
SUFFIXES = {".py", ".md", ".ipynb", ".sh", ".html", ".js", ".css", ".toml"}
PEOPLE = r"human_study|small_study"  # whose answers are people's

# (what is found, what the field says instead, files in which it is right). Underscores end a word, as spaces do.
WORDS = (
    (r"told|tells?|telling", "distinguish, classify; show, say; verdict", ""),
    (r"held(?![-_ ]out)(?! by\b)", "supported", ""),
    (r"(by|of) chance(?! level)", "at chance level, under the null hypothesis", ""),
    (r"(?<!standard[ _])deviations?", "standard deviation, std", ""),
    (r"(?<!total[ _])(?<!coefficient of )variations?", "total variation", ""),
    (
        r"(?<!learning[ _-])(?<!error )(?<!positive )(?<!negative )(?<!discovery )(?<!dropout )(?<!mutation )"
        r"(?<!crossover )(?<!success )(?<!sampling )(?<!base )rates?",
        "learning rate (or which rate)",
        PEOPLE,
    ),
    (r"(?<!negative[ _])slopes?", "gradient", ""),
    (r"(goes|went|go|going|gone) on", "resumes, continues", ""),
    (r"anew", "again, restarts", ""),
    (r"(?<!make )(?<!makes )(?<!making )sure|surer|surest|unsure", "confident, confidence", ""),
    (r"(?<!human_study_)answers?|answered|answering", "activation, output, prediction, logit", PEOPLE),
    (r"(?<!in )(?<!take )(?<!takes )(?<!decimal )(?<!in its )places?", "position, location", ""),
    (r"alike|likeness|likelier|likeliest", "similar, similarity; more probable", ""),
    (r"learnt", "trained on, learned", ""),
    (r"asked|asks?|asking", "required, threshold", PEOPLE),
    (r"thought of", "hand-designed", ""),
    (r"brought down", "projected to pixel space, backpropagated", ""),
    (r"looks? like nothing", "unrecognisable images", ""),
    (r"rivals?", "baselines", ""),
    (r"judges?|judged|judging|judgements?", "independent evaluation network", ""),
    (r"wishe?s?", "targets", ""),
    (r"players?", "generator and discriminator", ""),
    (r"octaves", "multifaceted", ""),
    (r"sealed|seals?", "checksum", ""),
    (r"learners?", "small networks", ""),
)
PATTERNS = [(re.compile(rf"(?<![A-Za-z])({word})(?![A-Za-z])", re.IGNORECASE), better, re.compile(where or r"(?!)"))
            for word, better, where in WORDS]  # fmt: skip
LONG = re.compile(r'"(?:image/png|data:image)[^"]*"')  # images in notebooks


def findings(path: Path) -> list[str]:
    """A line for each private word in a file: position, word, and the standard term."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if "lint: keep" in line:
            continue
        for pattern, better, elsewhere in PATTERNS:
            if not elsewhere.search(path.name):
                found += [f"{path}:{number}: {m[0]!r} -> {better}" for m in pattern.finditer(LONG.sub("", line))]
    return found


def files(root: Path = ROOT) -> list[Path]:
    """All texts of the project but this list."""
    below = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.suffix in SUFFIXES]
    return [path for path in [*below, *root.glob("*.md"), root / ".ci/run"] if path != Path(__file__).resolve()]


def test_private_words_are_kept_out():
    found = [line for path in files() for line in findings(path)]
    assert not found, "\n".join(found[:50])


@pytest.mark.parametrize(
    "text, words",
    [
        ("the slopes at which it_told", 2),
        ("standard deviation, total variation, learning rate, make sure, in place, held-out", 0),
        ("deviation variation rate sure place held", 6),
        ("human_study_answers, answers", 1),
    ],
)
def test_lint_finds_words_in_prose_and_identifiers(tmp_path, text, words):
    (tmp_path / "text.md").write_text(text)
    assert len(findings(tmp_path / "text.md")) == words


if __name__ == "__main__":
    chosen = [Path(argument) for argument in sys.argv[1:]]
    chosen = [path for each in chosen for path in ([each] if each.is_file() else sorted(each.rglob("*")))]
    chosen = [path for path in chosen if path.suffix in SUFFIXES and path.resolve() != Path(__file__).resolve()]
    lines = [line for path in chosen or files() for line in findings(path)]
    print("\n".join([*lines, f"{len(lines)} found"]))
    sys.exit(bool(lines))
