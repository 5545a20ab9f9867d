"""The Fourier parametrisation against sums of waves in NumPy."""

import jax
import numpy as np
import pytest

from xai_jax import parametrisation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("width", [6, 7])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_sums_of_waves(width, channels):
    coefficients = np.asarray(parametrisation.fourier_noise(jax.random.key(1), (1, 5, width, channels), 1.0))
    assert coefficients.shape == (1, 5, width // 2 + 1, channels, 2)
    expected = np.zeros((5, width, channels))
    rows, columns = np.mgrid[:5, :width]
    for u in range(5):
        for v in range(width // 2 + 1):
            frequency = np.hypot(u / 5 if u <= 2 else u / 5 - 1, v / width)
            scale = np.sqrt(5 * width) / max(frequency, 1 / max(5, width)) / (5 * width)
            phase = np.exp(2j * np.pi * (u * rows / 5 + v * columns / width))[..., None]
            twice = 1 if v == 0 or 2 * v == width else 2  # the conjugate coefficient is not stored
            value = coefficients[0, u, v, :, 0] + 1j * coefficients[0, u, v, :, 1]
            expected += twice * scale * (value * phase).real
    if channels == 3:
        expected = expected @ (parametrisation.COLOURS / np.linalg.norm(parametrisation.COLOURS, axis=0).max()).T
    np.testing.assert_allclose(parametrisation.from_fourier(coefficients, width)[0], expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=f"Expected a width of {width // 2 * 2} or {width // 2 * 2 + 1}"):
        parametrisation.from_fourier(coefficients, 9)


@pytest.mark.parametrize("shape", [(2, 5, 6, 3), (2, 6, 7, 1)])
def test_coefficients_invert_the_parametrisation(shape):
    images = RNG.normal(size=shape).astype("f")
    coefficients = parametrisation.to_fourier(images)
    assert coefficients.shape == (2, shape[1], shape[2] // 2 + 1, shape[3], 2)
    np.testing.assert_allclose(parametrisation.from_fourier(coefficients, shape[2]), images, atol=1e-4)
