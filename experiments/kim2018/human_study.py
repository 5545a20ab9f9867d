"""Human-subject study of saliency maps: the page of the study, and the analysis of answers (Kim et al. 2018)."""

import numpy as np

from configs.kim2018.human_study import Config
from experiments.kim2018 import caption_networks, saliency
from experiments.kim2018.saliency import CAPTION, IMAGE, NEAR_CHANCE, STUDIED
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import plots
from xai_jax.gallery import human_study, human_study_analysis
from xai_jax.gallery.human_study import Task
from xai_jax.gallery.human_study_analysis import Analysis

RELIES_ON = {CAPTION: "caption", IMAGE: "image"}  # by the noise of a network's captions


def run(config: Config, work: Workspace) -> Report:
    """Writes the page into the folder `study`, and analyses the answers that are there."""
    found = work.stage("maps", lambda: explained(config, work))
    study = tasks(found["images"], found["maps"], config)
    page, key = (work.path(f"study/{name}") for name in (human_study.PAGE, human_study.KEY))
    folder = human_study.build(page.parent, study).parent
    answered = any((folder / human_study.ANSWERS).rglob("*.json"))
    analysis = human_study_analysis.analyse(folder) if answered else None
    files = {f"study/{path.name}": path.read_bytes() for path in (page, key)}
    return Report(numbers(study, analysis), claims(analysis), [tasks_panel(study, config)], files)


def explained(config: Config, work: Workspace) -> dict[str, np.ndarray]:
    """Images (2, K * n, H, W, 3), others for each network, and maps (2, methods, K * n, H, W) of these, 0 to 1."""
    shown = caption_networks.pictures(config)
    nets = caption_networks.trained(shown, config, config.seed, work)
    data = caption_networks.test_images(shown, CAPTION, config, config.seed)
    names = {noise: name for name, noise in caption_networks.noises(config).items()}
    images, found = [], []
    for number, noise in enumerate(RELIES_ON):
        some = slice(number * config.explained, (number + 1) * config.explained)
        rows = np.concatenate([np.flatnonzero(data.labels == label)[some] for label in range(len(config.classes))])
        images.append(data.images[rows])
        maps = saliency.maps(nets[names[noise]], data.images[rows], data.labels[rows], config)
        found.append(saliency.normalised(maps))
    chosen = [list(saliency.methods(config)).index(name) for name in STUDIED]
    return {"images": np.stack(images), "maps": np.stack(found)[:, chosen]}


def tasks(images: np.ndarray, maps: np.ndarray, config: Config) -> list[Task]:
    """A task for each network, method and class."""
    return [
        Task(f"noise {noise:.0%}", method, word, own[part], found[which, part], RELIES_ON[noise])
        for noise, own, found in zip(RELIES_ON, images, maps, strict=True)
        for which, method in enumerate(STUDIED)
        for word, part in zip(config.words, np.split(np.arange(len(own)), len(config.words)), strict=True)
    ]


def tasks_panel(study: list[Task], config: Config) -> Panel:
    """The images of some tasks of each network, as one person may see them."""
    panels, rows = [], []
    for task in (task for task in study if task.label == config.words[0]):
        panels += [list(task.images[: human_study.SHOWN] / 255), list(task.maps[: human_study.SHOWN])]
        rows += [f"{task.model}", task.method]
    figure, _ = plots.grid(panels, rows=rows, size=1.1)
    caption = (
        "Images shown to people, without the names: four images of a class, and maps of a network by one method. "
        "People rate how important the image and the caption were to it. Names: the noise of the captions that it was "
        "trained on, and the method."
    )
    return Panel("tasks", figure, caption, "Rows of images with captions, each above its maps.")


def numbers(study: list[Task], analysis: Analysis | None) -> list[Number]:
    """The size of the study, and the paper's numbers if there are answers."""
    images, maps = ({image.tobytes() for t in study for image in getattr(t, name)} for name in ("images", "maps"))
    return [
        Number("different images", len(images), paper=60, paper_tag="V:TCAVp"),
        Number("different saliency maps", len(maps), paper=120, paper_tag="V:TCAVp"),
        Number("workers", len(analysis.answers.sheets) if analysis else 0, paper=50, paper_tag="V:TCAVp"),
        *(analysis_numbers(analysis) if analysis else ()),
    ]


def analysis_numbers(analysis: Analysis) -> list[Number]:
    """Correct answers and confidence, each with its interval over workers."""
    shares = {
        "correct answers": (analysis.correct, 0.52),
        "very confident, of correct answers": (analysis.confident_right, None),
        "very confident, of wrong answers": (analysis.confident_wrong, None),
    }
    return [
        Number(
            name, s.value, paper=paper, paper_tag=paper and "V:TCAVp", note=f"95 % interval {s.low:.2f} to {s.high:.2f}"
        )
        for name, (s, paper) in shares.items()
    ]


def claims(analysis: Analysis | None) -> list[Claim]:
    """The paper's two claims; inconclusive without answers."""
    correct = ambiguous = statistics.inconclusive("no answers yet")
    if analysis:
        share = analysis.correct
        interval = statistics.Interval(share.value, share.low, share.high, share.count)
        correct = statistics.within(interval, -np.inf, NEAR_CHANCE)
        tested = [entry.verdict for entry in analysis.conditions if entry.verdict is not None]
        ambiguous = statistics.binomial([verdict != 1 for verdict in tested])
    return [
        Claim(
            "People infer from maps at chance level which concept is important.",
            "section 4.3",
            correct,
            "fraction of correct answers, interval over workers",
        ),
        Claim(
            "In more than half of the conditions people see no significant difference or rate the wrong concept "
            "higher.",
            "section 4.3",
            ambiguous,
            "conditions with enough answers",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Training of the networks and the gradients of all maps, as for `kim2018/saliency`."""
    return saliency.plan(config)


EXPERIMENT = Experiment[Config](
    name="kim2018/human_study",
    title="What do people see in saliency maps?",
    figure="the study with people",
    paper=papers.KIM2018,
    summary=(
        "People look at images and saliency maps of a network, and rate how important the image and the caption were "
        "to it. The page follows the paper's design: one network, three classes and two methods for each person, four "
        "images at a time, in random order. It works from disk and saves answers as a file."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
