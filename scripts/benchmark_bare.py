"""The measurements of benchmark.py that hold methods beside the bare network passes that each of them needs."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_cases import CLASS, TRAINED, Case, build, forward, training, vjp
from jax.tree_util import Partial
from timing import AS_FAST, Goal, Result, loop, take_turns

from xai_jax import activation_cache, activation_maximisation, fooling, inversion, network, saliency, targets
from xai_jax.architectures.deepsim import Discriminator, Generator
from xai_jax.synthesis.cppn import CPPN
from xai_jax.synthesis.fooling import Direct
from xai_jax.training import deepsim, supervised
from xai_jax.training.deepsim import Players

LAYER = "pool2"
POPULATION = 200


def of_saliency(given, _: dict, case: Case = TRAINED, count: int = 8) -> Iterator[Result]:
    """Methods that take several passes for a map."""
    net, x, _ = build(case)
    slope, target = jax.nn.one_hot(np.full(case.batch, CLASS), case.classes), targets.logit(CLASS)
    bare = functools.partial(repeated, lambda: vjp(net, x, slope), count)
    ways = {
        "integrated gradients": lambda: saliency.integrated_gradients(net, x, target, steps=count),
        "SmoothGrad": lambda: saliency.smoothgrad(net, x, target, samples=count),
    }
    for name, explain in ways.items():
        yield beside(given, f"bare {name}, {count} passes {case.side} px", explain, bare, "bare vjp")


def of_maximisation(given, _: dict, case: Case = TRAINED, steps: int = 50) -> Iterator[Result]:
    """Steps on the pixels of an image of each class, by the priors that people thought of."""
    net, x, _ = build(case._replace(batch=case.classes))
    slope, target = jnp.eye(case.classes), targets.logit(np.arange(case.classes))
    bare = functools.partial(repeated, lambda: vjp(net, x, slope), steps)
    forms = (
        activation_maximisation.Simonyan(steps=steps),
        activation_maximisation.Yosinski(steps=steps),
        activation_maximisation.Fourier(steps=steps),
    )
    for form in forms:
        climb = functools.partial(maximised, form, net, target, x)
        name = f"bare maximisation {type(form).__name__}, {steps} steps {case.side} px"
        yield beside(given, name, climb, bare, "bare vjp")


def maximised(form: Any, net: network.Network, target: targets.Target, x: jax.Array) -> Any:
    return activation_maximisation.maximise(net, target, x, jax.random.key(0), form, -3.0, 3.0)


def of_fooling(given, _: dict, case: Case = TRAINED, generations: int = 10) -> Iterator[Result]:
    """Generations of evolution; each shows its children to the network."""
    net, _, _ = build(case)
    children = build(case._replace(batch=POPULATION))[1]
    shape = children.shape[1:]
    bare = functools.partial(repeated, lambda: forward(net, children), generations)
    for name, encoding in (("pixels", Direct(shape)), ("CPPN", CPPN(shape))):
        evolve = functools.partial(evolved, net, encoding, generations)
        yield beside(given, f"bare fooling, {generations} generations of {name}", evolve, bare, "bare forward")


def evolved(net: network.Network, encoding: fooling.Encoding, generations: int) -> Any:
    return fooling.evolve(net, encoding, generations, jax.random.key(0), POPULATION)[0].confidence


def of_responses(given, _: dict, case: Case = TRAINED, batches: int = 4) -> Iterator[Result]:
    """What TCAV computes for images: activations and gradients of one layer, written to disk."""
    net, one, _ = build(case._replace(batch=activation_cache.BATCH_SIZE))
    x = np.random.default_rng(0).normal(size=(batches * len(one), *one.shape[1:])).astype(np.float32)
    slope, target = jax.nn.one_hot(np.full(len(one), CLASS), case.classes), targets.logit(CLASS)
    passes = {"activations": lambda: forward(net, one), "gradients": lambda: vjp(net, one, slope)}
    for name, bare in passes.items():
        more = (target,) if name == "gradients" else ()
        answers = functools.partial(kept_nowhere, name, net, x, more)
        bare, other = functools.partial(repeated, bare, batches), f"bare {'vjp' if more else 'forward'}"
        yield beside(given, f"bare responses: {name} of {LAYER} {case.side} px", answers, bare, other)


def kept_nowhere(method: str, net: network.Network, x: np.ndarray, more: tuple) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        cache = activation_cache.ActivationCache(net, LAYER, folder)
        return np.asarray(getattr(cache, method)(x, *more)[LAYER])


def of_generator(given, _: dict, case: Case = TRAINED, batch: int = 32) -> Iterator[Result]:
    """A step of training both players, as `deepsim.fit` makes them."""
    x = build(case := case._replace(batch=batch))[1]
    players, functions = players_of(case)
    state = begun(players, functions, x)
    bare = functools.partial(passes_of_players, players, functions, state.params, x)
    yield beside(
        given, f"bare generator training, step of {batch} {case.side} px", stepping(players, functions, x), bare, "bare"
    )


def players_of(case: Case) -> tuple[Players, tuple]:
    """The players of "fashion_fc6", and what codes and features they are trained by."""
    players = Players(
        Generator((7, 7, 64), (256, 256), (), ((64, 64),), 1),
        Discriminator(((5, 32, 2), (3, 64, 1), (3, 64, 2)), 64),
        deepsim.Recipe(batch=case.batch),
    )
    net = build(case)[0]
    return players, (
        network.features(net, "relu6"),
        inversion.of_layer(net, LAYER, lambda x: x / 255),
        Partial(_pixels),
    )


def _pixels(x):
    return x


def stepping(players: Players, functions: tuple, x: jax.Array) -> Callable[[], Any]:
    state = begun(players, functions, x)

    def step():
        nonlocal state
        state, terms, _ = deepsim.step(players, functions, state, x, np.uint32(0))
        return terms

    return step


def begun(players: Players, functions: tuple, x: jax.Array) -> deepsim.State:
    return jax.jit(deepsim.initial, static_argnums=0)(players, jax.random.split(jax.random.key(0)), functions[0](x), x)


@functools.partial(jax.jit, static_argnums=0)
def passes_of_players(players: Players, functions: tuple, params: tuple, x: jax.Array) -> Any:
    """The passes of a step, with sums for losses, and nothing else."""
    encode, compare, _ = functions
    code, wanted, judge = encode(x), compare(x), players.discriminator.apply

    def total(params):
        made = players.generator.apply(params[0], code)
        fixed, still = jax.lax.stop_gradient((params[1], made))
        told = judge(fixed, made).sum() + judge(params[1], x).sum() + judge(params[1], still).sum()
        return (compare(made) * wanted).sum() + told + made.sum()

    return jax.grad(total)(params)


def of_training(given, _: dict, case: Case = TRAINED) -> Iterator[Result]:
    """A step of training beside gradients of as many images at a time, without dropout, loss and update."""
    net, x, _ = build(case)
    shares = case.batch // supervised.share_size(case.batch)
    parts = np.split(np.asarray(x), shares)
    step = training(case, net, x, np.arange(case.batch, dtype=np.int32) % case.classes)
    bare = functools.partial(of_weights, case.module, net.args[0])
    yield beside(
        given, f"bare training, step of {case.batch} {case.side} px", step, lambda: list(map(bare, parts)), "bare"
    )


@functools.partial(jax.jit, static_argnums=0)
def of_weights(module: Any, variables: Any, x: jax.Array) -> Any:
    return jax.grad(lambda variables: module.apply(variables, x).sum())(variables)


def repeated(function: Callable[[], Any], count: int) -> list:
    return [function() for _ in range(count)]


def beside(given, name: str, ours: Callable, bare: Callable, other_name: str, goal: Goal = AS_FAST) -> Result:
    (seconds, other), busy = take_turns((loop(ours), loop(bare)), given.repeats)
    return Result(name, goal, seconds, other, other_name, busy, {})


BARE = (of_saliency, of_maximisation, of_fooling, of_responses, of_generator, of_training)


def of_bare(given, versions: dict) -> Iterator[Result]:
    for measure in BARE:
        yield from measure(given, versions)
