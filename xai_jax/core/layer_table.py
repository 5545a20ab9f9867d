"""Names and shapes of layers, printed as a table."""

import re

import jax


class Layers(dict[str, jax.ShapeDtypeStruct]):
    """Layers by name in forward order; printed, a table of path, kind and shape. The kind is read from the name.

    >>> Layers({"ViT/Block_11": jax.ShapeDtypeStruct((1, 197, 64), "float32")})
    layer         kind   shape
    ViT/Block_11  Block  (1, 197, 64)
    """

    def __repr__(self) -> str:
        rows = [(name, _kind(name), str(getattr(layer, "shape", layer))) for name, layer in self.items()]
        rows = [("layer", "kind", "shape"), *rows]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{name:{widths[0]}}  {kind:{widths[1]}}  {shape}" for name, kind, shape in rows)


def _flatten(layers):
    return [(jax.tree_util.DictKey(name), layers[name]) for name in sorted(layers)], tuple(layers)


def _unflatten(names, values):
    values = dict(zip(sorted(names), values, strict=True))
    return Layers((name, values[name]) for name in names)


jax.tree_util.register_pytree_with_keys(Layers, _flatten, _unflatten)  # leaves are sorted, as those of dictionaries


def _kind(name):
    """The last part of a path that is no number, without its number: of "conv1_2" conv, of "blocks/3" blocks."""
    parts = (re.sub(r"([_.]?\d+)*([\[#].*)?$", "", part) for part in reversed(name.split("/")))
    return next(filter(None, parts), name)
