"""What people make of saliency maps: the page that asks them, and the numbers of their answers (Kim et al. 2018)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.kim2018 import caption_networks, saliency
from experiments.kim2018.saliency import ASKED, CAPTION, IMAGE
from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number
from xai_jax import plots
from xai_jax.gallery import human_study, human_study_analysis
from xai_jax.gallery.human_study import Task
from xai_jax.gallery.human_study_analysis import Analysis

RELIED = {CAPTION: "caption", IMAGE: "image"}  # what a network relies on, by the noise of its captions


def run(config: Any, run: runner.Run) -> None:
    """Writes the page into the folder `study`, and analyses the answers that are there."""
    found = run.stage("maps", lambda: explained(config, run))
    asked = tasks(found["images"], found["maps"], config)
    folder = run.workdir / "study"
    human_study.build(folder, asked)
    answered = any((folder / human_study.ANSWERS).rglob("*.json"))
    analysis = human_study_analysis.analyse(folder) if answered else None
    run.figure("tasks", *figure(asked, config))
    report(run, asked, analysis)


def explained(config: Any, run: runner.Run) -> dict[str, np.ndarray]:
    """Images (2, K * n, H, W, 3), others for each network, and maps (2, methods, K * n, H, W) of these, 0 to 1."""
    shown = caption_networks.pictures(config)
    nets = caption_networks.trained(shown, config, config.seed, run)
    data = caption_networks.test_images(shown, CAPTION, config, config.seed)
    chosen = saliency.methods(config)
    places, images, found = [list(chosen).index(name) for name in ASKED], [], []
    for number, noise in enumerate(RELIED):
        name = {value: name for name, value in caption_networks.noises(config).items()}[noise]
        some = slice(number * config.explained, (number + 1) * config.explained)
        rows = np.concatenate([np.flatnonzero(data.labels == label)[some] for label in range(len(config.classes))])
        images.append(data.images[rows])
        found.append(saliency.as_pictures(saliency.maps(nets[name], data.images[rows], data.labels[rows], config)))
    return {"images": np.stack(images), "maps": np.stack(found)[:, places]}


def tasks(images: np.ndarray, maps: np.ndarray, config: Any) -> list[Task]:
    """A task for each network, method and class."""
    return [
        Task(f"noise {noise:.0%}", method, word, own[part], found[place, part], RELIED[noise])
        for noise, own, found in zip(RELIED, images, maps, strict=True)
        for place, method in enumerate(ASKED)
        for word, part in zip(config.words, np.split(np.arange(len(own)), len(config.words)), strict=True)
    ]


def figure(asked: list[Task], config: Any) -> tuple[Figure, str, str]:
    """The pictures of two tasks of each network, as one person may see them."""
    chosen = [task for task in asked if task.label == config.words[0]]
    panels, rows = [], []
    for task in chosen:
        panels += [list(task.images[: human_study.SHOWN] / 255), list(task.maps[: human_study.SHOWN])]
        rows += [f"{task.model}", task.method]
    fig, _ = plots.grid(panels, rows=rows, size=1.1)
    caption = (
        "Pictures that people are shown, without the names: four images of a class, and maps of a network by one "
        "method. They rate how important the picture and the caption were to it."
    )
    return fig, caption, "Rows of images with captions, each above its maps."


def report(run: runner.Run, asked: list[Task], analysis: Analysis | None) -> None:
    """How large the study is, and the paper's numbers if there are answers."""
    images, maps = ({picture.tobytes() for t in asked for picture in getattr(t, name)} for name in ("images", "maps"))
    run.numbers += [
        Number("different images", len(images), paper=60, paper_tag="V:TCAVp"),
        Number("different saliency maps", len(maps), paper=120, paper_tag="V:TCAVp"),
        Number("workers", len(analysis.answers.sheets) if analysis else 0, paper=50, paper_tag="V:TCAVp"),
    ]
    if analysis:
        run.numbers += numbers(analysis)
    run.claims += claims(analysis)


def numbers(analysis: Analysis) -> list[Number]:
    """Right answers and confidence, each with its interval over workers."""
    shares = {
        "right answers": (analysis.correct, 0.52),
        "very confident, of right answers": (analysis.confident_right, None),
        "very confident, of wrong answers": (analysis.confident_wrong, None),
    }
    return [
        Number(
            name, s.value, paper=paper, paper_tag=paper and "V:TCAVp", note=f"95 % interval {s.low:.2f} to {s.high:.2f}"
        )
        for name, (s, paper) in shares.items()
    ]


def claims(analysis: Analysis | None) -> list[Claim]:
    """The paper's two claims; without answers nobody can tell."""
    right, failed, measured = None, None, ("no answers yet", "no answers yet")
    if analysis:
        share, verdicts = analysis.correct, human_study_analysis.outcomes(analysis)
        tested = len(analysis.conditions) - verdicts[None]
        right = saliency.at_chance(share.low, share.high)
        failed = tested - verdicts[1] > tested / 2 if tested else None
        measured = (
            f"{100 * share.value:.0f} % of {share.count} answers, 95 % interval {100 * share.low:.0f} to "
            f"{100 * share.high:.0f} %; below {100 * saliency.NEARLY:.0f} % is asked for, and it fails above one half",
            f"{tested - verdicts[1]} of {tested} conditions with enough answers",
        )
    return [
        Claim("People tell by maps no better than by chance which concept counts.", "section 4.3", right, measured[0]),
        Claim(
            "In more than half of the conditions people see no significant difference or the wrong concept ahead.",
            "section 4.3",
            failed,
            measured[1],
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """Training of the networks and the gradients of all maps, as for `kim2018/saliency`."""
    return saliency.plan(config)


EXPERIMENT = runner.Experiment(
    name="kim2018/human_study",
    title="What do people see in saliency maps?",
    figure="the study with people",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "People look at images and at saliency maps of a network, and say how important to it the picture and the "
        "caption were. One network relies on captions, because they always named the class in its training, another "
        "on pictures, because its captions were random. The page asks the paper's questions in the paper's design: "
        "one network, three classes and two methods for each person, four images at a time, in random order. It works "
        "from disk and saves the answers as a file. Until there are answers, only the page is here."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
