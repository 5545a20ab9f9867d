"""The steps of the explorer of units, for a dry run."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from configs.explorer.units import Config
from experiments.explorer import unit_panels
from experiments.lib import dry_run, preimages
from experiments.lib.top_activations import unit
from xai_jax import deconvnet, dgn_am, models, network, saliency, targets
from xai_jax.models import generators


def plan(config: Config) -> list[dry_run.Step]:
    """Two passes over the data, and for each layer projections, pre-images and preferred inputs."""
    steps = []
    for name, layers in unit_panels.networks(config).items():
        module, variables, shape = models.abstract(name)
        x = jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)
        search = partial(activations, module, layers)
        steps.append(
            dry_run.Step(f"{name}: search", search, (variables, x), 2 * dry_run.calls(config.images, config.batch_size))
        )
        for layer in layers:
            steps += layer_steps(config, name, layer, variables, x)
    return steps


def activations(module, layers, variables, x):
    return network.capture(Partial(module.apply, variables), x, layers)[1]


def layer_steps(config, name, layer, variables, x):
    """Steps for all units of one layer."""
    module, (count, at) = models.module(name), unit(name, layer)
    chunks, some = -(-count // config.chunk), min(count, config.chunk)
    project = partial(projections, module, targets.neuron(layer, 0, at))
    inversions = preimages.plan(name, [layer], some, chunks * sum(config.inversion))
    generator, weights, code = generators.abstract(config.generator)
    codes = jax.ShapeDtypeStruct((some, *code), jnp.float32)
    gradient = partial(code_gradient, generator, module, targets.neuron(layer, 0, at), x.shape[1:3])
    return [
        dry_run.Step(
            f"{name}/{layer}: projections", project, (variables, x), -(-count * config.k // config.batch_size)
        ),
        *(step._replace(name=f"{name}/{layer}: pre-images") for step in inversions),
        dry_run.Step(f"{name}/{layer}: preferred", gradient, (variables, weights, codes), chunks * config.steps),
    ]


def projections(module, target, variables, x):
    """Both projections of one neuron of each image."""
    net = Partial(module.apply, variables)
    return deconvnet.project(net, x, target, batch_size=len(x)), saliency.guided_backprop(net, x, target, len(x))


def code_gradient(generator, module, target, side, variables, weights, codes):
    """The gradient of a target with respect to the codes of the generator's images."""

    def activation(codes):
        images = dgn_am.of_generator(Partial(generator.apply, weights), side)(codes)
        return targets.evaluate(Partial(module.apply, variables), images, target)[0].sum()

    return jax.grad(activation)(codes)
