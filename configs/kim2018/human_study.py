"""A study of what people infer from saliency maps, and the analysis of answers (Kim et al. 2018, section 4.3).

    python -m experiments.kim2018.human_study \\
        --config=configs/kim2018/human_study.py:default --workdir=results/kim2018/human_study

The page is workdir/study/human_study.html. Put the files that people save into workdir/study/answers, and see what
they come to by `python -m xai_jax.gallery.human_study_report workdir/study`, or run this again with --overwrite,
which leaves the study as it is. smoke: seconds. default: half a minute on 2 cores, and once three more to train
networks that kim2018/captions uses, too. paper: an hour on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from configs.captioned import PAPER, SMOKE, Networks


@dataclasses.dataclass(kw_only=True)
class Config(Networks, base.Seeded):
    seed: int = 10  # of networks that kim2018/captions trains
    noises: tuple[float, ...] = (0.0, 1.0)  # of the networks that people are asked about
    explained: int = 10  # images of each class and network: 60 in all, and 120 maps
    steps: int = 32  # of integrated gradients
    samples: int = 16  # of SmoothGrad
    standard_deviation: float = 0.15  # of its noise, as a share of the image's range


def _asked(networks: Networks) -> dict:
    return dataclasses.asdict(networks) | {"noises": (0.0, 1.0)}


get_config = base.tiers(
    smoke=Config(**_asked(SMOKE), explained=4, steps=4, samples=3),
    default=Config(),
    paper=Config(**_asked(PAPER), steps=64, samples=50),
)
