"""Preprocessing against plain NumPy and PIL, and what it refuses."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from xai_jax.models import input_scaling

PLAIN = input_scaling.Input(4, 1.0, (127.0,) * 3, (128.0,) * 3)
CROPPED = input_scaling.Input(6, 6 / 8, (10.0, 20.0, 30.0), (2.0, 4.0, 8.0))
GREY = input_scaling.Input(8, 1.0, (0.0,), (255.0,))
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 14, 3), dtype=np.uint8)


def test_centre_square_is_kept_and_normalised():
    x = PLAIN.preprocess([PIXELS[:4, :8]])
    np.testing.assert_allclose(x, (PIXELS[None, :4, 2:6] - 127.0) / 128, rtol=1e-6)
    assert x.dtype == jnp.float32


def test_crop_is_a_part_of_the_shorter_side():
    x = CROPPED.preprocess([PIXELS])
    np.testing.assert_allclose(x[0], (PIXELS[1:7, 4:10] - [10.0, 20.0, 30.0]) / [2, 4, 8], rtol=1e-6)


def test_halving_averages_with_weights_one_three_three_one():
    ramp = np.tile(np.arange(8, dtype=np.uint8)[:, None, None] * 16, (1, 8, 3))
    x = PLAIN.preprocess([ramp]) * 128 + 127
    rows = np.concatenate([ramp[:1], ramp, ramp[-1:]])[:, 0, 0].astype(float)
    inside = [(rows[i : i + 4] @ [1, 3, 3, 1]) / 8 for i in (2, 4)]
    np.testing.assert_allclose(x[0, 1:3, 0, 0], inside, atol=0.51)  # PIL rounds to whole pixels


def test_lists_arrays_and_sizes_mix():
    photograph = Image.fromarray(PIXELS)
    x = PLAIN.preprocess([photograph, PIXELS, PIXELS[:, 3:11]])
    np.testing.assert_array_equal(x[0], x[1])
    assert x.shape == (3, 4, 4, 3)
    np.testing.assert_array_equal(PLAIN.preprocess(PIXELS[None]), x[:1])
    np.testing.assert_array_equal(PLAIN.preprocess(jnp.asarray(PIXELS[None])), x[:1])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr"])
def test_colour_modes_become_rgb(mode):
    x = PLAIN.preprocess([Image.fromarray(PIXELS).convert(mode)])
    assert x.shape == (1, 4, 4, 3)


def test_grey_images_have_three_equal_channels_and_grey_networks_one():
    x = PLAIN.preprocess([PIXELS[..., 0]])
    np.testing.assert_array_equal(x[..., 0], x[..., 2])
    grey = GREY.preprocess([PIXELS[:, 3:11, 0]])
    np.testing.assert_allclose(grey[0, ..., 0], PIXELS[:, 3:11, 0] / 255, rtol=1e-6)


def test_transparent_palette_and_orientation():
    palette = Image.fromarray(PIXELS).convert("P")
    palette.info["transparency"] = b"\0" * 256
    assert PLAIN.preprocess([palette]).shape == (1, 4, 4, 3)
    stream, turned = io.BytesIO(), Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    turned.save(stream, "png", exif=exif)
    with Image.open(stream) as upside_down:
        x = PLAIN.preprocess([upside_down])
    np.testing.assert_array_equal(x, PLAIN.preprocess([PIXELS[::-1, ::-1]]))


@pytest.mark.parametrize("spec", [PLAIN, CROPPED, GREY])
def test_to_pixels_is_the_inverse(spec):
    pixels = np.random.default_rng(1).integers(0, 256, (2, *spec.shape), dtype=np.uint8)
    x = (pixels - np.float32(spec.mean)) / np.float32(spec.std)
    back = spec.to_pixels(jnp.asarray(x))
    assert back.dtype == np.uint8 and back.shape == (2, spec.size, spec.size, 3)
    np.testing.assert_array_equal(back, np.broadcast_to(pixels, back.shape))
    np.testing.assert_array_equal(spec.to_pixels(x[0]), back[0])


def test_to_pixels_clips_and_refuses_other_channels():
    assert PLAIN.to_pixels(np.full((1, 4, 4, 3), 9.0)).min() == 255
    with pytest.raises(ValueError, match="channels"):
        PLAIN.to_pixels(np.zeros((4, 4, 2)))


@pytest.mark.parametrize(
    "given, error, message",
    [
        ([], ValueError, "empty list"),
        (Image.fromarray(PIXELS), TypeError, r"\[image\]"),
        (["cat.jpg"], TypeError, "PIL.Image.open"),
        ("cat.jpg", TypeError, "list of PIL images"),
        ([None], TypeError, "NoneType as image 0"),
        ([PIXELS, PIXELS / 255], TypeError, "float64 as image 1"),
        ((PIXELS / 255)[None], TypeError, "float64"),
        (PIXELS, ValueError, "One image goes into a list"),
        (np.zeros((0, 4, 4, 3), np.uint8), ValueError, "shape"),
        ([np.zeros((4, 4, 5), np.uint8)], ValueError, r"\(4, 4, 5\)"),
        ([np.zeros((0, 4, 3), np.uint8)], ValueError, r"\(0, 4, 3\)"),
        ([np.zeros((3, 9, 8), np.uint8)], ValueError, r"\(3, 9, 8\) as image 0. Usual cause: channels first"),
        ([np.zeros((9, 8, 3), np.float32)], TypeError, "got float32 as image 0. Usual cause: .* already scaled"),
        ([Image.new("RGB", (0, 5))], ValueError, "pixel"),
        ([Image.new("I;16", (5, 5))], ValueError, "8 bits"),
        ([Image.new("F", (5, 5))], ValueError, "8 bits"),
    ],
)
def test_bad_images_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        PLAIN.preprocess(given)


def test_truncated_files_are_refused():
    stream = io.BytesIO()
    Image.fromarray(PIXELS).resize((64, 64)).save(stream, "png")
    with Image.open(io.BytesIO(stream.getvalue()[:-2000])) as image, pytest.raises(ValueError, match="damaged"):
        PLAIN.preprocess([image])
