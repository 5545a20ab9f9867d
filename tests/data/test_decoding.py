"""Image files that nobody vouches for: formats, bit depths, sizes, and what is no file."""

import io
import os
import struct
import zlib
from functools import partial

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps, UnidentifiedImageError

from xai_jax.data import crops, datasets, decoding
from xai_jax.models import Input

RNG = np.random.default_rng(0)


def png(width, height, depth, colours, rows):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


DEEP = {
    "grey png": png(2, 2, 16, 0, (b"\0" + b"\x12\x34" * 2) * 2),
    "png": png(2, 2, 16, 2, (b"\0" + b"\x12\x34" * 6) * 2),
    "png with alpha": png(2, 2, 16, 6, (b"\0" + b"\x12\x34" * 8) * 2),
    "grey png with alpha": png(2, 2, 16, 4, (b"\0" + b"\x12\x34" * 4) * 2),
    "ppm": b"P6\n2 2\n65535\n" + b"\x12\x34" * 12,
    "ppm of 10 bits": b"P6\n2 2\n1000\n" + b"\x01\x34" * 12,
    "pgm": b"P5\n2 2\n65535\n" + b"\x12\x34" * 4,
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_more_than_8_bits_are_refused_and_not_cut_off(content, tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"deep.png, got: more than 8 bits for each channel"):
        decoding.decode(path)
    model_input = Input(2, 1.0, (0.0,) * 3, (255.0,) * 3)
    with Image.open(path) as image, pytest.raises(ValueError, match="Expected 8 bits .*, got .* as image 0"):
        model_input.preprocess([image])


FORMATS = [*(("a.png", mode) for mode in ("L", "P", "1")), ("a.jpg", "RGB"), ("a.ppm", "RGB"), ("a.webp", "RGB")]


@pytest.mark.parametrize("name, mode", [*FORMATS, ("a.tif", "RGBA"), ("a.bmp", "RGB"), ("a.gif", "P")])
def test_documented_formats_of_8_bits_are_read(name, mode, tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (5, 4, 3), np.uint8)).convert(mode)
    image.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    found = decoding.decode(tmp_path / name)
    assert found.shape == (5, 4, 3) and found.dtype == np.uint8
    if name != "a.jpg":
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


CROPS = [
    partial(crops.centre_crop, side=15, short=20),
    partial(crops.ten_crop, side=15, short=20),
    partial(crops.resize_short, short=20),
    partial(crops.centre_square, side=15, share=0.875),
    partial(crops.centre_square, side=15, channels=1),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("crop", CROPS)
def test_crops_of_files_are_those_of_upright_pixels(crop, orientation, tmp_path):
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    small = Image.fromarray(RNG.integers(0, 256, (5, 7, 3), np.uint8)).resize((70, 51), Image.Resampling.BICUBIC)
    for suffix in (".jpg", ".png", ".webp"):
        small.save(path := tmp_path / f"a{suffix}", exif=exif)
        found = decoding.Encoded(path).read(crop)
        np.testing.assert_array_equal(found, crop(decoding.decode(path)))
        np.testing.assert_array_equal(found, decoding.Encoded(path.read_bytes()).read(crop))


@pytest.mark.parametrize(
    "size, short, scale", [((159, 80), 20, 2), ((159, 79), 20, 1), ((170, 160), 20, 4), ((323, 500), 20, 8)]
)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_large_jpeg_are_decoded_at_a_smaller_scale_with_nearly_the_same_crops(
    size, short, scale, orientation, tmp_path, monkeypatch
):
    scales, decode = set(), decoding.ImageFile._decode

    def record(self, short):
        found, scale = decode(self, short)
        scales.add(scale)
        return found, scale

    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    photo = Image.fromarray(skimage.data.chelsea()[:, 60:360]).resize(size, Image.Resampling.LANCZOS)
    photo.save(tmp_path / "a.jpg", quality=95, exif=exif)
    whole = decoding.decode(tmp_path / "a.jpg")
    monkeypatch.setattr(decoding.ImageFile, "_decode", record)
    exact = orientation == 1 or all(side % scale == 0 for side in size)
    for seed in range(4):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        found = decoding.Encoded(tmp_path / "a.jpg").read(crops.random_crop, rngs[0], 15, short)
        difference = abs(found.astype(int) - crops.random_crop(whole, rngs[1], 15, short))
        assert difference.mean() < (2.5 if scale > 1 and exact else 1e-9) and difference.max() < 25
    assert scales == {scale if exact else 1}


def test_no_other_program_reads_a_file(tmp_path, monkeypatch):
    for program in ("gs", "gswin32c"):
        (tmp_path / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    folder = tmp_path / "photographs" / "cats"
    folder.mkdir(parents=True)
    (folder / "cat.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (r) file\n"
    )
    with pytest.raises(ValueError, match=r"cat.jpg, got: cannot identify image file"):
        datasets.load(f"folder:{folder.parent}", "all")[0]
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("width, height", [(1, 49_000_000), (70_000, 1), (7000, 7200), (10_000, 10_000)])
def test_enormous_images_are_refused_by_their_headers(width, height, tmp_path):
    (tmp_path / "a.png").write_bytes(png(width, height, 1, 0, b""))
    with pytest.raises(ValueError, match=f"{width} x {height} pixels, more than|decompression bomb"):
        decoding.decode(tmp_path / "a.png")


def test_pipes_and_names_of_control_characters(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="expected a file, got a device, a pipe or a directory"):
        decoding.decode(tmp_path / "a.png")
    path = tmp_path / "\x1b[31m\n.png"
    path.write_bytes(b"none")
    with pytest.raises(ValueError) as caught:
        decoding.decode(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def tag(number, kind, count, value, order="<"):
    return struct.pack(f"{order}HHI", number, kind, count) + value


def block(*tags, header=b"II*\0\x08\0\0\0"):
    return b"Exif\0\0" + header + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)


TURNED = tag(0x0112, 3, 1, struct.pack("<HH", 6, 0))  # a quarter turn
FAR = struct.pack("<I", 2**31)
BROKEN = {
    "a negative width": (block(tag(0x0100, 8, 1, struct.pack("<hH", -5, 0)), TURNED), True),
    "text as width": (block(tag(0x0100, 2, 4, b"wide"), TURNED), True),
    "a maker's note beyond the end": (block(TURNED, tag(0x927C, 7, 99, FAR)), True),
    "a count that overflows": (block(TURNED, tag(0x010F, 12, 2**32 - 1, FAR)), True),
    "an unknown type": (block(tag(0x0100, 99, 1, bytes(4)), TURNED), True),
    "a directory beyond the end": (block(TURNED, tag(0x8769, 4, 1, FAR)), True),
    "a directory that is itself": (block(TURNED, tag(0x8769, 4, 1, struct.pack("<I", 8))), True),
    "fewer tags than promised": (block(TURNED).replace(b"\x01\0\x12", b"\xff\0\x12"), True),
    "another header": (block(TURNED, header=b"IX*\0\x08\0\0\0"), False),
    "an offset beyond the end": (block(TURNED, header=b"II*\0" + FAR), False),
    "a header alone": (b"Exif\0\0II*\0", False),
    "a name alone": (b"Exif\0\0", False),
    "an orientation that is text": (block(tag(0x0112, 2, 2, b"6\0\0\0")), False),
    "an orientation that there is not": (block(tag(0x0112, 3, 1, struct.pack("<HH", 77, 0))), False),
    "an orientation beyond the end": (block(tag(0x0112, 3, 99, FAR)), False),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about the tags that it skips
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif, is_turned", BROKEN.values(), ids=BROKEN)
def test_damaged_exif_costs_no_pixels_and_no_orientation_that_can_be_read(exif, is_turned, kind, tmp_path):
    pixels = np.kron(RNG.integers(0, 2, (2, 3, 1), np.uint8), np.full((16, 16, 3), 255, np.uint8))  # whole blocks
    path = tmp_path / f"a.{kind}"
    Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    expected = np.rot90(pixels, -1) if is_turned else pixels
    np.testing.assert_array_equal(decoding.decode(path), expected)
    with Image.open(path) as image:
        found = Input(32, 1.0, (0.0,) * 3, (255.0,) * 3).preprocess([image])
    np.testing.assert_array_equal(found, Input(32, 1.0, (0.0,) * 3, (255.0,) * 3).preprocess([expected]))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_jpeg_with_a_resolution_that_pillow_does_not_read(tmp_path):
    unit, empty = tag(0x0128, 3, 1, struct.pack("<HH", 2, 0)), tag(0x011A, 2, 1, bytes(4))
    Image.new("RGB", (7, 4), (9, 99, 200)).save(tmp_path / "a.jpg", exif=block(empty, unit), quality=100)
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "a.jpg")
    np.testing.assert_allclose(
        decoding.decode(tmp_path / "a.jpg").astype(int), np.full((4, 7, 3), (9, 99, 200)), atol=2
    )
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 no image Exif\0\0")
    with pytest.raises(ValueError, match="cannot identify image file"):
        decoding.decode(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_pillow_and_are_applied_once(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (5, 4, 3), np.uint8)).save(stream, kind, exif=exif)
    with Image.open(stream) as image:
        found = decoding.upright(image)
    with Image.open(stream) as image:
        np.testing.assert_array_equal(found, ImageOps.exif_transpose(image))
    assert found.size == ((4, 5) if orientation < 5 else (5, 4))
    np.testing.assert_array_equal(decoding.upright(found), found)
