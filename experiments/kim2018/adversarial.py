"""Whether TCAV distinguishes adversarial images from natural ones (Kim et al. 2018, appendix)."""

import tempfile
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.kim2018.adversarial import Config
from experiments.kim2018 import adversarial_figures, concept_images, scenes
from experiments.kim2018.adversarial_figures import GROUPS, SYNTHESISED
from experiments.kim2018.concept_images import PHOTOGRAPHS
from experiments.lib import dry_run, evaluation_networks, generator_codes, papers, statistics
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import cav, gram, models, network, targets
from xai_jax.concepts import classifiers
from xai_jax.concepts.activation_cache import BATCH_SIZE, ActivationCache
from xai_jax.concepts.cav import CAV
from xai_jax.core.network import Network
from xai_jax.core.precision import highest
from xai_jax.data import datasets, textures
from xai_jax.io.errors import UserError
from xai_jax.models import LoadedModel

FOLDS = 5  # or as many as images of a group


def run(config: Config, work: Workspace) -> Report:
    """Synthesises adversarial images of each class, and compares derivatives along concepts with natural images."""
    if config.images < 2:
        raise UserError(f"Expected --config.images of at least 2, to cross-validate on, got {config.images}.")
    model, found = models.load(config.network, config.weights), []
    for seed in work.progress(config.seeds, "seeds"):
        found.append(work.stage(f"seed-{seed}", partial(one_seed, model, config, seed)))
    names = config.targets
    distance, area = (np.stack([each[name] for each in found]) for name in ("distance", "area"))
    panels = [
        adversarial_figures.images_panel(found[0], names),
        adversarial_figures.scores_panel(found, names, config),
        adversarial_figures.distinction_panel(distance.mean(0), area.mean(0)),
    ]
    return Report(numbers(found, distance, area), claims(distance.mean(0), area.mean(0)), panels)


def one_seed(model: LoadedModel, config: Config, seed: int) -> dict[str, np.ndarray]:
    """Derivatives `along` concepts, then along as many random directions, in each layer: (K, G, N, 2, L, C).

    Of N images of each group and class, with the network's `confidence` in the class (K, G, N), and `pixels`
    (K, G, S, S, 3) of the first; `distances` of scores and `areas` under ROC curves.
    """
    natural = natural_images(model, config, seed)
    with tempfile.TemporaryDirectory() as cache_dir:
        cavs, parts = directions(model, config, seed, cache_dir), []
        for number, name in enumerate(config.targets):
            k, rng = model.classes.index(name), np.random.default_rng([seed, number])
            others = rng.permutation(np.concatenate(np.delete(natural, number, 0)))
            x = image_groups(model, natural[number], others, k, config, rng)
            along = np.stack([sensitivities(model.net, cavs, each, k, cache_dir) for each in x])
            parts.append((along, np.stack([confidence(model, each, k) for each in x]), model.to_pixels(x[:, 0])))
    shape = 2, len(config.layers), len(config.concepts)
    along, confidences, pixels = (np.stack(each) for each in zip(*parts, strict=True))
    along = along.reshape(*along.shape[:3], *shape)
    measured = {"distance": distances(along), "area": areas(along)}
    return {"along": along, "confidence": confidences, "pixels": pixels} | measured


def natural_images(model: LoadedModel, config: Config, seed: int) -> np.ndarray:
    """Images (K, 2 N, S, S, 3) uint8 of each target; of `PHOTOGRAPHS` those that the network predicts to be of it."""
    size, count = model.input.shape[0], 2 * config.images
    if config.data == PHOTOGRAPHS:
        return np.stack([scenes.named_rightly(model, name, count, seed) for name in config.targets])
    data = datasets.only(concept_images.held_out(config.data), config.targets)
    label, rng = datasets.labeller(data), np.random.default_rng(seed)
    labels = np.array([label(index) for index in range(len(data))])
    own = [rng.permutation(np.flatnonzero(labels == k)) for k in range(len(config.targets))]
    if (fewest := min(map(len, own))) < count:
        raise UserError(f"Expected {count} images of each class, got {fewest}: lower images.")
    return np.stack([[concept_images.square(data[int(i)][0], size) for i in rows[:count]] for rows in own])


def directions(model: LoadedModel, config: Config, seed: int, cache_dir: str) -> list[CAV]:
    """CAVs of textures against a mixture of them, then of as many sets of the mixture itself; in each layer."""
    size = models.abstract(config.network)[2][0]
    (kind,) = textures.kinds(config.concepts, config.examples, config.random, size, seed)
    others = textures.kinds(config.concepts, 2, config.examples * len(config.concepts), size, seed + 2**20)
    rest = np.random.default_rng(seed).permutation(others[0].random)
    sets = [kind.concepts[name] for name in config.concepts] + np.split(rest, len(config.concepts))
    half, random = len(config.concepts), model.preprocess(list(kind.random))
    with classifiers.stopping_early():
        return [
            cav.learn(
                model.net, layer, "a texture", model.preprocess(list(images)), random, seed=seed, cache_dir=cache_dir
            )
            for part in (sets[:half], sets[half:])
            for layer in config.layers
            for images in part
        ]


def image_groups(
    model: LoadedModel, own: np.ndarray, others: np.ndarray, k: int, config: Config, rng: np.random.Generator
) -> Array:
    """Images (G, N, S, S, C) of `GROUPS`, for class k, with whole pixel values, from images of the class and others.

    Of `candidates` times as many attacked images, those that are classified as k come first.
    """
    count, size = config.images, model.input.shape[0]
    real, again, before = (
        model.preprocess(list(part)) for part in (own[:count], own[count:], others[: config.candidates * count])
    )
    noise = model.preprocess(list(rng.integers(0, 256, (count, size, size, 3), np.uint8)))
    black, white = limits = model.input.limits
    attacked = [
        attack(model.net, x, k, most * (white - black) / 255, config.steps, limits)
        for x, most in ((before, config.most), (noise, config.most_noise))
    ]
    adversarial, noise = (generator_codes.quantised(model, x) for x in attacked)
    successful = np.asarray(network.call(model.net, adversarial)).argmax(1) == k
    best = np.argsort(~successful, kind="stable")[:count]
    return jnp.stack([real, again, before[best], adversarial[best], noise])


def attack(net: Network, x: Array, k: int, most: Array, steps: int, limits: tuple[Array, Array]) -> Array:
    """Images (N, H, W, C) moved towards class k by steps of the gradient's sign; no value changes by more than `most`.

    Kurakin et al. 2017, Adversarial examples in the physical world: with one step, the targeted fast gradient sign.
    """
    for _ in range(steps):  # convolutions inside compiled loops are slow on CPUs
        x = _attack_step(net, x, k, most / steps, limits)
    return x


@highest()
@jax.jit
def _attack_step(net, x, k, length, limits):
    gradient = jax.grad(lambda x: targets.evaluate(net, x, targets.log_probability(k))[0].sum())(x)
    return jnp.clip(x + length * jnp.sign(gradient), *limits)


def sensitivities(net: Network, cavs: list[CAV], x: Array, k: int, cache_dir: str) -> np.ndarray:
    """Derivatives (N, D) of the logit of class k along each direction."""
    layers = {each.layer for each in cavs}
    gradients = ActivationCache(net, sorted(layers), cache_dir).gradients(x, targets.logit(k))
    return np.stack([gradients[each.layer] @ each.vector for each in cavs], 1)


def confidence(model: LoadedModel, x: Array, k: int) -> np.ndarray:
    """The network's probability of class k, (N,)."""
    return np.asarray(jax.nn.softmax(evaluation_networks.features(model.net, x)))[:, k]


def distances(along: np.ndarray) -> np.ndarray:
    """Mean absolute differences (K, G - 1) of scores from the first natural images', over layers and concepts."""
    scores = (along[:, :, :, 0] > 0).mean(2)
    return np.abs(scores[:, 1:] - scores[:, :1]).mean((-2, -1))


def areas(along: np.ndarray) -> np.ndarray:
    """How well derivatives distinguish single images of a group from the first natural ones, (K, G - 1, 2).

    Areas under the ROC curve of logistic regression on held-out images, from the derivatives along concepts, and along
    random directions.
    """
    along = along.reshape(*along.shape[:4], -1)
    return np.array([[[_area(own[0, :, i], group[:, i]) for i in range(2)] for group in own[1:]] for own in along])


def _area(first, second):
    """Cross-validated."""
    model, folds = make_pipeline(StandardScaler(), LogisticRegression()), min(FOLDS, len(first))
    labels = np.repeat([0, 1], [len(first), len(second)])
    with gram.single_threaded_blas():
        return cross_val_score(model, np.concatenate([first, second]), labels, cv=folds, scoring="roc_auc").mean()


def numbers(found: list[dict[str, np.ndarray]], distance: np.ndarray, area: np.ndarray) -> list[Number]:
    """Confidence, distances (S, K, G - 1) of scores and areas (S, K, G - 1, 2), means over classes."""
    result = [
        Number.mean(f"confidence in the class: {name}", [each["confidence"][:, group].mean() for each in found])
        for group, name in enumerate(GROUPS)
    ]
    for group, name in enumerate(GROUPS[1:]):
        result.append(Number.mean(f"difference of scores from natural images': {name}", distance[:, :, group].mean(1)))
        for number, directions in enumerate(("concepts", "random directions")):
            own = area[:, :, group, number].mean(1)
            result.append(Number.mean(f"distinguished by {directions}, area under the ROC curve: {name}", own))
    return result


def claims(distance: np.ndarray, area: np.ndarray) -> list[Claim]:
    """Claims from distances (K, G - 1) and areas (K, G - 1, 2), by Wilcoxon's test over classes."""
    found, others, before = [], distance[:, 0], distance[:, GROUPS.index("before the attack") - 1]
    power = f"; with 80% power, differences of {statistics.detectable(len(area)):.1f} standard deviations are found"
    for name, text in zip(SYNTHESISED, ("Adversarial images", "Images synthesised from noise"), strict=True):
        own = distance[:, GROUPS.index(name) - 1]
        found.append(
            Claim(
                f"{text} have other TCAV scores than natural ones.",
                "appendix (the test is ours)",
                statistics.wilcoxon(own, others),
                f"mean difference of scores {own.mean():.2f}, {others.mean():.2f} of other natural images, "
                f"{before.mean():.2f} of the attacked ones before the attack{power}",
            )
        )
    concepts, random = area[:, GROUPS.index(SYNTHESISED[0]) - 1].T
    found.append(
        Claim(
            "Concepts distinguish adversarial images better than random directions do.",
            "ours",
            statistics.wilcoxon(concepts, random),
            f"area under the ROC curve {concepts.mean():.2f} by concepts, {random.mean():.2f} by random directions"
            + power,
        )
    )
    return found


def plan(config: Config) -> list[dry_run.Step]:
    """Activations of layers for concepts, the steps of attacks, and gradients of all images."""
    images = len(config.targets) * len(config.seeds) * config.images
    concepts = (2 * len(config.concepts) * config.examples + config.random) * len(config.seeds)

    def activations(net: Any, x: Array) -> dict[str, Array]:
        return network.capture(net, x, config.layers)[1]

    calls = dry_run.calls(images, BATCH_SIZE) * (2 * config.steps + len(GROUPS))
    concept_calls, target = dry_run.calls(concepts, BATCH_SIZE), targets.log_probability(0)
    return [
        dry_run.forward(config.network, BATCH_SIZE, concept_calls, activations, name="activations of layers"),
        dry_run.gradient(config.network, BATCH_SIZE, calls, target, "steps and gradients"),
    ]


EXPERIMENT = Experiment[Config](
    name="kim2018/adversarial",
    title="Does TCAV distinguish adversarial images?",
    figure="appendix, adversarial examples",
    paper=papers.KIM2018,
    summary=(
        "Adversarial images of a class are synthesised from natural images of others, and from noise, by steps of the "
        "gradient's sign. Do their TCAV scores differ from natural images' more than those of other natural images do? "
        "And do derivatives along concepts distinguish single images better than along directions of random images?"
    ),
    run=run,
    plan=plan,
    minutes=3,
)

if __name__ == "__main__":
    main(EXPERIMENT)
