"""Artificial inputs for the whole paper tier: data sets as TFDS prepares them, folders of images, and random weights.

The files are those that a user has, in the same formats; only their content is random. `write` makes all of them, with
an inputs file.
"""

import io
import math
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.core import example_serializer, naming

from configs.kim2018 import retinopathy
from xai_jax import models
from xai_jax.data import class_names
from xai_jax.models import generators
from xai_jax.weights import safetensors_file

SHOWN = (
    *("zebra", "cab", "cucumber", "fire engine", "dalmatian", "dumbbell", "dogsled", "Siberian husky", "malamute"),
    *("Eskimo dog", "bell pepper", "mask", "library", "leaf beetle", "lipstick", "beacon"),
)  # classes of ImageNet that have images
EACH = 4  # images of each class and split
# Mean images of nguyen2016/priors are of 15 images, networks of kim2018/human_study explain four images each.
MORE = [*12 * ["mask"], *4 * ["zebra", "cab", "cucumber"]]
CONCEPTS = ("red", "yellow", "blue", "green", "striped", "dotted", "zigzagged", "siberian husky", "arms")
PARTS = ("left eye", "right eye", "nose")
NETWORKS = ("caffenet", "googlenet", "vgg16")
GENERATORS = ("caffenet_pool5", "caffenet_fc6", "caffenet_fc7")


def picture(rng: np.random.Generator, height: int, width: int, kind: str = "JPEG") -> bytes:
    """An encoded image of a few coloured patches."""
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def prepare(root: Path, name: str, splits: dict[str, list[dict]]) -> None:
    """Writes a data set of TFDS as array_record files, from examples as its builder generates them."""
    builder = tfds.builder(name, data_dir=root, file_format="array_record")
    folder, found = Path(builder.data_dir), []
    folder.mkdir(parents=True)
    serializer = example_serializer.ExampleSerializer(builder.info.features.get_serialized_info())
    for split, examples in splits.items():
        template = naming.ShardedFileTemplate(
            data_dir=folder, dataset_name=builder.name, split=split, filetype_suffix="array_record"
        )
        encoded = [serializer.serialize_example(builder.info.features.encode_example(each)) for each in examples]
        writer = ArrayRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1")
        for record in encoded:
            writer.write(record)
        writer.close()
        size = sum(map(len, encoded))
        found.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[len(encoded)], num_bytes=size, filename_template=template)
        )
    builder.info.set_splits(tfds.core.splits.SplitDict(found))
    builder.info.write_to_directory(folder)


def write_data(root: Path) -> None:
    """The data sets of TFDS."""
    rng, classes = np.random.default_rng(0), class_names.imagenet()

    def imagenet():
        return [
            {"image": io.BytesIO(picture(rng, 240, 256)), "label": classes.index(name), "file_name": f"{i}.JPEG"}
            for i, name in enumerate([*EACH * SHOWN, *MORE])
        ]

    prepare(root, "imagenet2012", {"train": imagenet(), "validation": imagenet()})
    for name, count in (("cifar10", 10), ("cifar100", 100)):
        fine = {"coarse_label": 0} if name == "cifar100" else {}
        splits = {
            split: [
                {"id": f"{split}_{i}", "image": io.BytesIO(picture(rng, 32, 32, "PNG")), "label": i % count} | fine
                for i in range(48)
            ]
            for split in ("train", "test")
        }
        prepare(root, name, splits)
    prepare(root, "caltech101", {split: caltech(rng, 2) for split in ("train", "test")})
    prepare(root, "voc/2012", {split: scenes(rng, 60) for split in ("train", "validation", "test")})
    graded = {"train": eyes(rng, 40), "validation": eyes(rng, 20), "test": eyes(rng, 40)}
    prepare(root, "diabetic_retinopathy_detection/btgraham-300", graded)


def caltech(rng, each):
    return [
        {"image": io.BytesIO(picture(rng, 60, 80)), "label": k, "image/file_name": f"{k}_{i}.jpg"}
        for k in range(102)
        for i in range(each)
    ]


def scenes(rng, count):
    """One object each, or two, so that every class is in several."""
    box = tfds.features.BBox(ymin=0.1, xmin=0.1, ymax=0.6, xmax=0.6)
    objects = [[i % 20] if i % 4 else [i % 20, (i + 7) % 20] for i in range(count)]
    return [
        {
            "image": io.BytesIO(picture(rng, 80, 100)),
            "image/filename": f"{i}.jpg",
            "objects": [
                {"label": k, "bbox": box, "pose": 0, "is_truncated": False, "is_difficult": False} for k in kinds
            ],
            "labels": kinds,
            "labels_no_difficult": kinds,
        }
        for i, kinds in enumerate(objects)
    ]


def eyes(rng, count):
    return [{"name": f"{i}", "image": io.BytesIO(picture(rng, 300, 300)), "label": i % 5} for i in range(count)]


def write_folders(root: Path) -> None:
    """Folders of concepts, of lesions and of the classes of Caltech-256, and the positions of parts."""
    rng = np.random.default_rng(1)
    groups = {
        "concepts": CONCEPTS,
        "lesions": retinopathy.Config().lesions,
        "256_ObjectCategories": ("001.ak47", "002.bat", "003.dog"),
    }
    for group, names in groups.items():
        for name in names:
            (root / group / name).mkdir(parents=True)
            for number in range(6):
                (root / group / name / f"{number}.jpg").write_bytes(picture(rng, 90, 100))
    rows = ["image,part,row,column"]
    for number in range(10):
        (root / f"dog{number}.jpg").write_bytes(picture(rng, 200, 220))
        rows += [f"dog{number}.jpg,{part},{40 + 30 * k},{60 + 30 * k}" for k, part in enumerate(PARTS)]
    (root / "parts.csv").write_text("\n".join(rows) + "\n")


def write_weights(root: Path) -> None:
    """Random weights of the right shapes, as He's initialisation, under the modules' own names."""
    root.mkdir(parents=True)
    shapes = {name: models.abstract(name)[1] for name in NETWORKS}
    shapes |= {name: generators.abstract(name)[1] for name in GENERATORS}
    for seed, (name, tree) in enumerate(shapes.items()):
        rng = np.random.default_rng(seed)
        arrays = {path: _random(rng, path, leaf.shape) for path, leaf in safetensors_file.flatten(tree).items()}
        safetensors_file.write(root / f"{name}.safetensors", arrays)


def _random(rng, path, shape):
    if len(shape) < 2:
        return np.full(shape, 1.0 if path.endswith(("scale", "var")) else 0.01, np.float32)
    values = rng.random(shape, np.float32)
    values -= 0.5
    values *= 2 * math.sqrt(6 / math.prod(shape[:-1]))
    return values


def write(root: Path, overrides: str) -> Path:
    """All inputs in `root`, and the path of an inputs file that names them, with `overrides` at its end.

    Only the inputs file is written where all are there.
    """
    path = root / "inputs.toml"
    if not path.is_file():
        write_data(root / "tfds")
        write_folders(root / "folders")
        write_weights(root / "weights")
    lines = ["[data]", 'tfds = "tfds"', "[weights]"]
    lines += [f'{name} = "weights/{name}.safetensors"' for name in (*NETWORKS, *GENERATORS)]
    names = {"concepts": "concepts", "lesions": "lesions", "parts": "parts.csv"}
    names |= {"256_ObjectCategories": "256_ObjectCategories"}
    lines += ["[paths]", *(f'{name} = "folders/{file}"' for name, file in names.items())]
    path.write_text("\n".join(lines) + f"\n{overrides}")
    return path
