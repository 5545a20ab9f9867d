"""Forms of activation maximisation and their hyperparameters, by their names in figures."""

import dataclasses

from xai_jax import activation_maximisation
from xai_jax.synthesis.activation_maximisation import Simonyan, Yosinski
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import CENTRE_BIAS, MEAN_IMAGE, MFV, Stage


@dataclasses.dataclass
class Baselines:
    """The defaults are for colour images of 64x64 pixels.

    Of a few settings of each form, the one whose images from other starts had the best mean rank in the three measures
    of realism of `experiments.nguyen2016.priors` at a median confidence of at least 99 %.
    """

    no_prior: Simonyan = Simonyan(penalty=0.0, steps=100)
    L2: Simonyan = Simonyan(penalty=1e-4, steps=100)  # of 1e-6 to 1e-3
    blur: Yosinski = Yosinski(steps=100, increase=30.0, max_learning_rate=1e6, blur_every=1)  # increases of 10 to 100
    TV: IJCV = IJCV(total_variation=300.0, steps=(100, 0))  # of 10 to 300
    TV_and_jitter: IJCV = IJCV(total_variation=300.0, jitter=8, steps=(100, 0))  # of 10 to 300, jitter of 4 and 8
    mean_image: MFV | None = MFV(  # with and without enlargement
        (
            Stage(40, (1.0, 2.0), (0.4, 0.4)),
            Stage(40, (1.0, 1.0), (0.1, 2.0), 1.2),
            Stage(10, (2.0, 2.0), (0.4, 2.0)),
        ),
        10,
    )
    centre_bias: MFV = MFV(  # of two, the other with larger steps
        (
            Stage(40, (11.0, 11.0), (0.02, 0.1)),
            Stage(40, (11.0, 6.0), (0.05, 0.2), 1.2),
            Stage(10, (6.0, 6.0), (0.1, 2.0), margin=13, spread=0.1),
            Stage(10, (6.0, 3.0), (0.1, 2.0)),
        ),
        10,
    )
    # learning rates of 0.01 to 0.05
    Fourier: activation_maximisation.Fourier = activation_maximisation.Fourier(0.01, 100, jitter=5)


SMOKE = Baselines(
    Simonyan(penalty=0.0, steps=20),
    Simonyan(steps=20),
    Yosinski(steps=20, increase=0.5, max_learning_rate=1e6, blur_std=0.5),
    IJCV(total_variation=0.01, steps=(20, 0)),
    IJCV(total_variation=0.01, jitter=2, steps=(20, 0)),
    MFV((Stage(10, (5.0, 1.0), (0.4, 2.0)),), 10),
    MFV((Stage(10, (11.0, 11.0), (0.05, 0.1)), Stage(10, (6.0, 1.0), (0.1, 2.0), 1.2)), 10),
    activation_maximisation.Fourier(steps=20, jitter=2),
)

PAPERS = Baselines(
    L2=Simonyan(),
    blur=Yosinski(),
    TV=IJCV(steps=(300, 0)),
    TV_and_jitter=IJCV(jitter=8, steps=(300, 0)),  # a quarter of the stride of the last layers
    mean_image=MEAN_IMAGE,
    centre_bias=CENTRE_BIAS,
    Fourier=activation_maximisation.Fourier(),
)
