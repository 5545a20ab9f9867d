"""The page of `explain`: one HTML file without links to other files."""

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from xai_jax.cli.parts import Computed, Picture, Section, Table
from xai_jax.cli.subject import Subject
from xai_jax.gallery import page
from xai_jax.gallery.pictures import data_uri, webp
from xai_jax.io.errors import UserError

LARGEST = 5_000_000  # bytes
QUALITIES = (88, 70, 50, 30)
SMALL = 64 * 64  # pixels of an image without losses
TOP = 5  # classes

Done = Sequence[tuple[Section, Sequence[Computed]]]


def render(subject: Subject, done: Done, command: str) -> str:
    """The page, at most `LARGEST` bytes. Example: `render(subject, done, "python -m xai_jax explain cat.jpg")`.

    Raises UserError for more photographs than fit at the lowest quality.
    """
    for quality in QUALITIES:
        html = _page(subject, done, command, quality)
        if len(html.encode("utf-8", "xmlcharrefreplace")) <= LARGEST:
            return html
    raise UserError(f"Expected fewer photographs for a page of {LARGEST // 10**6} MB, got {len(subject.files)}.")


def _page(subject, done, command, quality):
    articles = [_article(subject, number, done, quality) for number in range(len(subject.files))]
    title = ", ".join(path.name for path in subject.files[:3]) + (", ..." if len(subject.files) > 3 else "")
    files = [f'<a href="#photograph-{n}">{escape(path.name)}</a>' for n, path in enumerate(subject.files)]
    body = (
        f"<header><h1>What {escape(subject.name)} sees</h1>"
        f'<p class="lead">{page.counted(len(subject.files), "photograph")}, explained by xai_jax.</p>'
        f'<pre class="command">{escape(command)}</pre></header>\n{"".join(articles)}{page.DIALOG}'
    )
    links = " ".join(files) if len(files) > 1 else ""
    fields = {"title": escape(title), "links": links, "label": "Photographs", "body": body}
    return page.render("page.html", ["report.css"], ["script.js"], **fields)


def _article(subject, number, done, quality):
    photograph = Picture(subject.pixels[number], "", "what the network sees")
    sections = "".join(_section(section, parts, number, quality) for section, parts in done)
    return (
        f'<article id="photograph-{number}"><h2>{escape(subject.files[number].name)}</h2>'
        f'<div class="seen">{figure(photograph, quality)}{_predictions(subject, number)}</div>{sections}</article>\n'
    )


def _predictions(subject, number):
    """The most probable classes, and the explained one."""
    own, explained = subject.probabilities[number], subject.classes[number]
    shown = list(np.argsort(-own, kind="stable")[:TOP])
    shown += [] if explained in shown else [explained]
    rows = "".join(
        f"<li{' class=explained' if k == explained else ''}><span>{escape(subject.model.classes[k])}</span>"
        f'<meter value="{own[k]:.4f}" aria-label="probability"></meter><b>{100 * own[k]:.1f} %</b></li>'
        for k in shown
    )
    name = escape(subject.model.classes[explained])
    return f'<div><p>Explained class: <b>{name}</b></p><ol class="predictions">{rows}</ol></div>'


def _section(section, parts, number, quality):
    flow, rest = [], []
    for each in parts:
        content = each.contents[number] if each.contents else []
        if each.part.is_row and content:
            rest.append(f"<h4>{escape(each.part.title)}</h4>{panels(content, quality, 'panels row')}")
        else:
            flow += content
    return (
        f"<section><h3>{escape(section.title)}</h3><p>{escape(section.about)}</p>"
        f"{panels(flow, quality)}{''.join(rest)}{_left_out(parts)}</section>"
    )


def panels(content: Sequence[Picture | Table], quality: int, style: str = "panels") -> str:
    """Pictures side by side; charts and tables, which take a whole row, after them.

    >>> panels([Picture(np.zeros((8, 8, 3), np.uint8), "unit 3")], 80)[:20]
    '<div class="panels">'
    """
    narrow = [each for each in content if isinstance(each, Picture) and not each.wide]
    html = f'<div class="{style}">{"".join(figure(each, quality) for each in narrow)}</div>' if narrow else ""
    for each in content:
        if isinstance(each, Table):
            html += f"<details><summary>All numbers</summary>{table(each)}</details>"
        elif each.wide:
            html += figure(each, quality)
    return html


def table(content: Table) -> str:
    """HTML of a table.

    >>> "<td>0.5</td>" in table(Table(["concept", "score"], [["red", "0.5"]]))
    True
    """
    rows = [
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in content.rows
    ]
    return page.table("numbers", [escape(name) for name in content.header], rows, "numbers")


def _left_out(parts):
    """A line for each reason for which parts were left out."""
    reasons = {}
    for each in parts:
        if each.reason:
            reasons.setdefault(each.reason, []).append(each.part.title)
    return "".join(
        f'<p class="left-out"><b>Left out: {escape(", ".join(titles))}.</b> {escape(reason)}</p>'
        for reason, titles in reasons.items()
    )


def figure(picture: Picture, quality: int) -> str:
    """HTML of a picture with its caption, which a click enlarges.

    >>> "<b>unit 3</b>" in figure(Picture(np.zeros((8, 8, 3), np.uint8), "unit 3"), 80)
    True
    """
    height, width = picture.image.shape[:2]
    alt = escape(picture.title or picture.note)
    caption = f"<b>{escape(picture.title)}</b> " if picture.title else ""
    style = ' class="pixels"' if max(height, width) < 64 else ""
    return (
        f'<figure{" class=wide" if picture.wide else ""}><button type="button" class="picture">'
        f'<img{style} src="{encode(picture.image, quality, picture.wide)}" width="{width}" height="{height}" '
        f'alt="{alt}"></button><figcaption>{caption}{escape(picture.note)}</figcaption></figure>'
    )


def encode(image: np.ndarray, quality: int, lossless: bool = False) -> str:
    """An image (H, W, 3) uint8 as a WebP data URI; small ones, and charts, without losses.

    >>> encode(np.zeros((8, 8, 3), np.uint8), 80)[:23]
    'data:image/webp;base64,'
    """
    lossless = lossless or image.shape[0] * image.shape[1] <= SMALL
    return data_uri("image/webp", webp(Image.fromarray(image), lossless=lossless, quality=quality))
