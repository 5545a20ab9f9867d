"""Whether TCAV tells images that were changed to be named a class from real ones (Kim et al. 2018, appendix)."""

import tempfile
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.kim2018 import adversarial_figures, concept_images
from experiments.kim2018.adversarial_figures import GROUPS, MADE
from experiments.lib import dry_run, evaluation_networks, generator_codes, runner
from experiments.lib.runner import Claim, Number
from xai_jax import cav, gram, models, network, targets
from xai_jax.concepts.activation_cache import BATCH_SIZE, ActivationCache
from xai_jax.concepts.cav import CAV
from xai_jax.core.network import Network
from xai_jax.data import datasets
from xai_jax.data.datasets import Dataset
from xai_jax.models import LoadedModel

FOLDS = 5
TRIED = 2  # times as many images are changed as are shown


def run(config: Any, run: runner.Run) -> None:
    """Makes adversarial images of each class, and compares derivatives along concepts in them and in real ones."""
    model, data = models.load(config.network, config.weights), concept_images.held_out(config.data)
    found = []
    for seed in run.progress(config.seeds, "seeds"):
        found.append(run.stage(f"seed-{seed}", partial(one_seed, model, data, config, seed)))
    names = [model.classes[k] for k in aims(model.classes, config)]
    apart, told = (np.stack([each[name] for each in found]) for name in ("apart", "told"))
    run.figure("images", *adversarial_figures.images(found[0], names))
    run.figure("scores", *adversarial_figures.scores(found, names, config))
    run.figure("told", *adversarial_figures.told(apart.mean(0), told.mean(0)))
    report(run, found, apart, told)


def aims(classes: tuple[str, ...], config: Any) -> list[int]:
    """The classes that images are made for."""
    return [classes.index(name) for name in config.targets or classes]


def one_seed(model: LoadedModel, data: Dataset, config: Any, seed: int) -> dict[str, np.ndarray]:
    """Derivatives `along` concepts, then along as many random directions, in each layer: (K, G, N, 2, L, C).

    Of N images of each group and class, with the network's confidence in the class, `sure` (K, G, N), and `pixels`
    (K, G, S, S, 3) of the first; `distances` and `areas`.
    """
    label = datasets.labeller(data)
    labels = np.array([label(index) for index in range(len(data))])
    with tempfile.TemporaryDirectory() as cache_dir:
        known, parts = directions(model, config, seed, cache_dir), []
        for k in aims(model.classes, config):
            x = groups(model, data, labels, k, config, np.random.default_rng([seed, k]))
            along = [sensitivities(model.net, known, each, k, cache_dir) for each in x]
            parts.append(
                (np.stack(along), np.stack([sureness(model, each, k) for each in x]), model.to_pixels(x[:, 0]))
            )
    shape = 2, len(config.layers), len(config.concepts)
    along, sure, pixels = (np.stack(each) for each in zip(*parts, strict=True))
    along = along.reshape(*along.shape[:3], *shape)
    return {"along": along, "sure": sure, "pixels": pixels, "apart": distances(along), "told": areas(along)}


def directions(model: LoadedModel, config: Any, seed: int, cache_dir: str) -> list[CAV]:
    """CAVs of textures against a mixture of them, then of as many sets of the mixture; in each layer."""
    size = models.abstract(config.network)[2][0]
    (kind,) = concept_images.drawn(config.concepts, config.examples, config.random, size, seed)
    others = concept_images.drawn(config.concepts, 2, config.examples * len(config.concepts), size, seed + 2**20)
    rest = np.random.default_rng(seed).permutation(others[0].random)
    sets = [kind.concepts[name] for name in config.concepts] + np.split(rest, len(config.concepts))
    half, random = len(config.concepts), model.preprocess(list(kind.random))
    with concept_images.stopping_early():
        return [
            cav.learn(
                model.net, layer, "a texture", model.preprocess(list(images)), random, seed=seed, cache_dir=cache_dir
            )
            for part in (sets[:half], sets[half:])
            for layer in config.layers
            for images in part
        ]


def groups(
    model: LoadedModel, data: Dataset, labels: np.ndarray, k: int, config: Any, rng: np.random.Generator
) -> Array:
    """Images (G, N, S, S, C) of `GROUPS`, for class k, as pictures have them.

    Of `TRIED` times as many images that were changed, those that are named the class come first.
    """
    own, others = (rng.permutation(np.flatnonzero(same)) for same in (labels == k, labels != k))
    if len(own) < 2 * config.images:
        raise runner.UserError(f"Expected {2 * config.images} images of each class, got {len(own)}: lower images.")
    rows = [own[: config.images], own[config.images : 2 * config.images], others[: TRIED * config.images]]
    size = models.abstract(config.network)[2][0]
    real, again, before = (
        model.preprocess([concept_images.square(data[int(i)][0], size) for i in part]) for part in rows
    )
    noise = model.preprocess(list(rng.integers(0, 256, (config.images, size, size, 3), np.uint8)))
    black, white = limits = model.input.limits
    made = [
        attacked(model.net, x, k, most * (white - black) / 255, config.steps, limits)
        for x, most in ((before, config.most), (noise, 255.0))
    ]
    adversarial, noise = (generator_codes.quantised(model, x) for x in made)
    named = np.asarray(network.call(model.net, adversarial)).argmax(1) == k
    best = np.argsort(~named, kind="stable")[: config.images]
    return jnp.stack([real, again, before[best], adversarial[best], noise])


def attacked(net: Network, x: Array, k: int, most: Array, steps: int, limits: tuple[Array, Array]) -> Array:
    """Images (N, H, W, C) moved towards class k by steps of the gradient's sign; no value changes by more than `most`.

    Kurakin et al. 2017, Adversarial examples in the physical world: with one step, the targeted fast gradient sign.
    """
    for _ in range(steps):  # convolutions inside compiled loops are slow on CPUs
        x = _moved(net, x, k, most / steps, limits)
    return x


@jax.jit
def _moved(net, x, k, length, limits):
    slope = jax.grad(lambda x: targets.evaluate(net, x, targets.log_probability(k))[0].sum())(x)
    return jnp.clip(x + length * jnp.sign(slope), *limits)


def sensitivities(net: Network, known: list[CAV], x: Array, k: int, cache_dir: str) -> np.ndarray:
    """Derivatives (N, D) of the logit of class k along each direction."""
    layers = {each.layer for each in known}
    gradients = ActivationCache(net, sorted(layers), cache_dir).gradients(x, targets.logit(k))
    return np.stack([gradients[each.layer] @ each.vector for each in known], 1)


def sureness(model: LoadedModel, x: Array, k: int) -> np.ndarray:
    """The network's probability of class k, (N,)."""
    return np.asarray(jax.nn.softmax(evaluation_networks.features(model.net, x)))[:, k]


def distances(along: np.ndarray) -> np.ndarray:
    """How far scores are from those of the first real images, (K, G - 1): mean differences over layers and concepts."""
    scores = (along[:, :, :, 0] > 0).mean(2)
    return np.abs(scores[:, 1:] - scores[:, :1]).mean((-2, -1))


def areas(along: np.ndarray) -> np.ndarray:
    """How well derivatives tell single images of a group from the first real ones, (K, G - 1, 2).

    Areas under the curve of logistic regression from the derivatives along concepts, and along random directions, in
    images held out.
    """
    along = along.reshape(*along.shape[:4], -1)
    return np.array([[[_area(own[0, :, i], group[:, i]) for i in range(2)] for group in own[1:]] for own in along])


def _area(first, second):
    """Cross-validated."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    labels = np.repeat([0, 1], [len(first), len(second)])
    with gram.single_threaded_blas():
        return cross_val_score(model, np.concatenate([first, second]), labels, cv=FOLDS, scoring="roc_auc").mean()


def report(run: runner.Run, found: list[dict[str, np.ndarray]], apart: np.ndarray, told: np.ndarray) -> None:
    """Confidence, distances (S, K, G - 1) of scores and areas (S, K, G - 1, 2) as numbers, means over classes."""
    for place, name in enumerate(GROUPS):
        run.numbers.append(
            Number.mean(f"confidence in the class: {name}", [each["sure"][:, place].mean() for each in found])
        )
    for place, name in enumerate(GROUPS[1:]):
        run.numbers.append(Number.mean(f"difference of scores from real images': {name}", apart[:, :, place].mean(1)))
        for number, words in enumerate(("concepts", "random directions")):
            area = told[:, :, place, number].mean(1)
            run.numbers.append(Number.mean(f"told from real images by {words}, area under the curve: {name}", area))
    run.claims += claims(apart.mean(0), told.mean(0))


def claims(apart: np.ndarray, told: np.ndarray) -> list[Claim]:
    """What follows from distances (K, G - 1) and areas (K, G - 1, 2), by Wilcoxon's test over classes."""
    source, (again, *_) = "appendix (the test is ours)", range(len(GROUPS) - 1)
    found = []
    for name, words in zip(MADE, ("Adversarial images", "Images made from noise"), strict=True):
        place = GROUPS.index(name) - 1
        held, text = generator_codes.more(apart[:, place], apart[:, again])
        measured = (
            f"mean difference of scores {apart[:, place].mean():.2f}, {apart[:, again].mean():.2f} of more real images"
        )
        found.append(Claim(f"{words} have other TCAV scores than real ones.", source, held, f"{measured}; {text}"))
    own = told[:, GROUPS.index(MADE[0]) - 1]
    held, text = generator_codes.more(own[:, 0], own[:, 1])
    found.append(
        Claim(
            "It takes concepts to tell adversarial images: directions of random images tell them less well.",
            "ours",
            held,
            f"area under the curve {own[:, 0].mean():.2f} by concepts, {own[:, 1].mean():.2f} by random ones; {text}",
        )
    )
    return found


def plan(config: Any) -> list[dry_run.Step]:
    """What the layers answer to concepts, the steps of attacks, and gradients of all images."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((BATCH_SIZE, *shape), jnp.float32)
    classes = jax.eval_shape(module.apply, variables, x).shape[1]
    images = (len(config.targets) or classes) * len(config.seeds) * config.images
    concepts = (2 * len(config.concepts) * config.examples + config.random) * len(config.seeds)

    def answers(variables: Any, x: Array) -> dict[str, Array]:
        return network.capture(Partial(module.apply, variables), x, config.layers)[1]

    def slope(variables: Any, x: Array) -> Array:
        net = Partial(module.apply, variables)
        return jax.grad(lambda x: targets.evaluate(net, x, targets.log_probability(0))[0].sum())(x)

    batches = -(-images // BATCH_SIZE)
    return [
        dry_run.Step("activations of layers", answers, (variables, x), -(-concepts // BATCH_SIZE)),
        dry_run.Step("steps and gradients", slope, (variables, x), batches * (2 * config.steps + len(GROUPS))),
    ]


EXPERIMENT = runner.Experiment(
    name="kim2018/adversarial",
    title="Does TCAV distinguish adversarial images?",
    figure="appendix, adversarial examples",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "Images can be changed a little, so that a network names them a class that people do not see. The paper shows "
        "that TCAV scores of such images are not those of real images of the class. Here images of other classes are "
        "moved by steps of the gradient's sign, no pixel by more than a fifth of the way from black to white, and so "
        "is noise, by any amount. Scores are taken in four groups and compared with those of real images: more real "
        "images, whose difference is chance; images before they were changed; adversarial ones; and those made from "
        "noise. It is asked, too, how well single images can be told by their derivatives, and whether this takes "
        "concepts at all or works as well with directions of random images. The paper takes one step on GoogLeNet; "
        "the small network here takes ten shorter ones. Concepts are drawn textures, told from mixtures of all. "
        "Groups and tests were fixed before any result. At first changes were half as large and many images were not "
        "named the class at all; since then twice as many are changed, and those that are named it come first."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
