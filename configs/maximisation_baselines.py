"""Forms of activation maximisation and their hyperparameters, by their names in figures."""

import dataclasses

from xai_jax import activation_maximisation
from xai_jax.synthesis.activation_maximisation import Simonyan, Yosinski
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import CENTRE_BIAS, MEAN_IMAGE, MFV, Stage


@dataclasses.dataclass
class Baselines:
    """The defaults are for images of 28x28 pixels.

    Of a few settings of each form, the papers' included, the one whose images from other starts had the best mean rank
    in the three measures of realism of `experiments.nguyen2016.priors` at a confidence of at least 99 %.
    """

    no_prior: Simonyan = Simonyan(penalty=0.0)
    L2: Simonyan = Simonyan(penalty=1e-7)  # of 1e-7 to 1e-4
    blur: Yosinski = Yosinski(steps=200, increase=30.0, max_learning_rate=1e6, blur_every=1)  # increases of 0.5 to 100
    TV: IJCV = IJCV(total_variation=3.0, steps=(300, 0))  # of 0.3 to 100
    TV_and_jitter: IJCV = IJCV(total_variation=3.0, jitter=3, steps=(300, 0))  # jitter of 3 to 7
    mean_image: MFV | None = MFV(  # of 20 to 220 steps; not enlarged, since the objects fill the images
        (Stage(30, (1.0, 2.0), (0.8, 0.8)), Stage(10, (2.0, 2.0), (0.8, 2.0))), 30
    )
    centre_bias: MFV = MFV(  # weights of the papers' to 0.4, steps of the papers' length to four times it
        (
            Stage(80, (44.0, 22.0), (0.05, 0.1)),
            Stage(60, (22.0, 11.0), (0.1, 0.2), 1.2),
            Stage(20, (6.0, 6.0), (0.2, 2.0), margin=6, spread=0.1),
            Stage(10, (6.0, 3.0), (0.2, 2.0)),
        ),
        30,
    )
    # learning rates of 0.005 to 0.05, jitter of 3 to 7
    Fourier: activation_maximisation.Fourier = activation_maximisation.Fourier(0.01, 200, jitter=5)


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
