"""Small results for the gallery, and a parser of its pages."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

HOSTILE = "</p><script>alert(1)</script>\"' onload=x & <b> $style ${script}"
ORDER = {"zeiler2014": 1, "mahendran2015": 2, "springenberg2015": 3, "nguyen2016": 4, "nguyen2015": 5, "kim2018": 6}
VOID = {"meta", "link", "img", "br", "input"}


def save_picture(file, height=40, width=60, seed=0):
    """Noise, the worst case for compression."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


def decoded(uri):
    """The image in a data URI."""
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def metrics(paper="springenberg2015", name="comparison", /, **changes):
    return {
        "experiment": f"{paper}/{name}",
        "title": f"Title of {name}",
        "figure": "Fig. 3",
        "paper": f"Authors of {paper}",
        "summary": "A summary.",
        "tier": "default",
        "command": f"python -m experiments.{paper}.{name} --workdir=results",
        "seconds": 200.4,
        "hardware": "cpu x2, jax 0.12.0",
        "seed": 7,
        "figures": [{"file": "maps.png", "caption": "The maps.", "alt": "A grid of maps"}],
        "numbers": [
            {"name": "share", "value": 0.61321, "spread": 0.0411, "unit": ""}
            | {"paper": 0.5, "paper_tag": "V:ZF", "note": "over four photographs"}
        ],
        "claims": [claim("Sharper maps.", source="section 3.4", measured="0.61 against 0.38")],
        "order": ORDER.get(paper),
    } | changes


def claim(text, verdict="supported", source="", measured="", tested=True):
    p = {"p": 0.01, "opposite_p": 0.99} if tested else {"p": None, "opposite_p": None}
    return {"claim": text, "source": source, "verdict": verdict, "tested": tested, **p, "measured": measured}


def write_experiment(results, paper="springenberg2015", name="comparison", /, **changes):
    folder = results / paper / name
    folder.mkdir(parents=True)
    save_picture(folder / "maps.png")
    (folder / "metrics.json").write_text(json.dumps(metrics(paper, name, **changes)))
    (folder / "config.json").write_text(json.dumps({"steps": 50, "optimizer": {"learning_rate": 0.1}}))
    return folder


class Page(HTMLParser):
    """Tags with attributes in order and text by enclosing tag; asserts that every tag is closed."""

    def __init__(self, file):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag=None):
        return "".join(text for name, text in self.texts if tag in (None, name) and name not in ("style", "script"))
