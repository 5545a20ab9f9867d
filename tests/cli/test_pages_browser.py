"""The pages of `explain` and `concepts` in a browser: pictures, no request, phones."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import attributes, click, evaluate, fits, set_width
from xai_jax import __main__ as command_line
from xai_jax.cli import concepts, drawn_concepts, page, preferred, preimages
from xai_jax.data import digits

NAME = "<img src=x onerror=alert(1)>.png"


def save(path, image):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((255 * image[:, :, 0]).astype(np.uint8)).save(path, format="PNG")


def explained(root):
    """The page of all methods, of a photograph with a hostile name."""
    save(root / NAME, digits.arrays()[1][0])
    return root / "page.html", ["explain", str(root / NAME), "--out", str(root / "page.html")]


def concept_tested(root):
    """The page of two concepts, whose images have hostile names."""
    images = digits.arrays()[0]
    parts = {"bright": images[:5], "random": images[5:45], "eights": images[50:58], "other": images[60:65]}
    for folder, part in parts.items():
        for number, image in enumerate(part):
            save(root / folder / f"{number}{NAME}", np.minimum(1.5 * image, 1) if folder == "bright" else image)
    folders = ["--concept", f"{root}/bright", f"{root}/other", "--random", f"{root}/random"]
    return root / "out/index.html", ["concepts", *folders, "--class", f"8={root}/eights", "--out", str(root / "out")]


@pytest.fixture(scope="module", params=[explained, concept_tested], ids=["explain", "concepts"])
def file(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preimages, "FORM", preimages.IJCV(steps=(3, 0)))
        patch.setattr(preferred, "PIXELS", preferred.Fourier(steps=3))
        patch.setattr(concepts, "cache_dir", lambda name: root / name)
        for name, few in {"EXAMPLES": 4, "RUNS": 2, "CONTROLS": 3}.items():
            patch.setattr(drawn_concepts, name, few)
        path, arguments = request.param(root)
        assert command_line.main([*arguments, "--model", "digits"]) == 0
    return path


@pytest.fixture
def shown(chromium, file):
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get(file.as_uri())
    return chromium


def test_pictures_are_shown_without_any_request(shown, file):
    loaded = attributes(shown, "img", "complete", "naturalWidth")
    assert len(loaded) > 8 and all(complete and width > 0 for complete, width in loaded)
    requested = evaluate(shown, "performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requested if not name.startswith("data:")] == [] and shown.get_log("browser") == []
    assert file.stat().st_size <= page.LARGEST


def test_names_of_files_are_text(shown):
    texts = attributes(shown, "article > h2, .row figcaption, h3", "textContent")
    assert any(NAME in text for text in texts)
    assert attributes(shown, "img[src=x]", "src") == []


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_no_horizontal_scrolling(shown, width):
    set_width(shown, width)
    shown.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert fits(shown, width)


def test_a_picture_is_enlarged(shown):
    set_width(shown, 1200)
    click(shown, ".panels button.picture")
    assert attributes(shown, "dialog", "open", "querySelectorAll('img').length") == [[True, 1]]
