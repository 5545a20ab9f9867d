"""Inputs of the paper tier: reproduce.py's plan on a bare machine, the inputs file, and the order of experiments."""

import dataclasses
import json
import os
import re
import shutil
import subprocess

import pytest

from experiments.lib import completion
from tests.helpers.scripts import ROOT, reproduce_command, write_experiment

NEEDS = {
    "alpha2001/one": [
        {
            "field": "weights",
            "values": ["results/beta2002/three/training/net-0/weights.safetensors"],
            "keys": ["weights.zfnet"],
            "many": False,
        },
        {"field": "data", "values": ["cifar10", "folder:birds"], "keys": ["data.cifar10", "paths.birds"], "many": True},
    ],
    "alpha2001/two": [
        {"field": "weights", "values": ["caffe"], "keys": ["weights.caffenet"], "many": False},
        {"field": "generator_weights", "values": ["fc6.model"], "keys": ["weights.caffenet_fc6"], "many": False},
        {"field": "images", "values": ["imagenet"], "keys": ["data.imagenet2012"], "many": False},
    ],
    "beta2002/three": [],
}
CONFIG = """
import dataclasses
@dataclasses.dataclass
class Config:
    weights: str = ""
    generator_weights: str = ""
    data: tuple[str, ...] = ()
    images: str = ""
    epochs: int = 3
get_config = lambda tier: Config()
"""


@pytest.fixture
def run(project, tmp_path):
    (project / "scripts/paper_tier.json").write_text(json.dumps(NEEDS))
    (project / "xai_jax/models").mkdir()
    shutil.copy(ROOT / "xai_jax/models/published.tsv", project / "xai_jax/models")
    for name in NEEDS:
        (project / f"configs/{name}.py").write_text(CONFIG)
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "TFDS_DATA_DIR": "", "XDG_CACHE_HOME": ""}

    def run(*arguments, text=None):
        if text is not None:
            (tmp_path / "inputs.toml").write_text(text)
            arguments = (*arguments, "--inputs", str(tmp_path / "inputs.toml"))
        command = reproduce_command(project, "--tier", "paper", *arguments)
        return subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=60, env=environment)

    return run


def prepare(root, name, kind):
    """A file of a data set that TFDS prepared."""
    folder = root / name / "3.0.2"
    folder.mkdir(parents=True)
    (folder / f"{name}-train.{kind}-00000-of-00001").touch()
    return folder


def states(done):
    """What the plan says of each experiment."""
    return dict(re.findall(r"^  (\w+/\w+) +(.+)$", done.stdout, re.MULTILINE))


def test_a_bare_machine_is_told_what_is_missing_and_how_to_get_it(run, tmp_path, project):  # lint: keep
    done = run("--plan")
    assert done.returncode == 0, done.stderr
    assert states(done) == {
        "beta2002/three": "ready",
        "alpha2001/two": "missing weights.caffenet_fc6, data.imagenet2012",
        "alpha2001/one": "missing data.cifar10, paths.birds; after beta2002/three",
    }
    lines = done.stdout.splitlines()
    directory = tmp_path / "home/tensorflow_datasets"
    build = f".venv/bin/tfds build cifar10 --file_format=array_record --data_dir={directory}"
    assert f"  data.cifar10, for 1: {build}; or cifar10 = FOLDER in [data]" in lines
    assert any(re.match("  weights.caffenet_fc6, for 1: https://lmb.*, of it fc6/generator", line) for line in lines)
    address = "http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel"
    assert lines[-2].startswith("downloaded on first use")
    assert lines[-1] == f"  weights.caffenet, for 1: {address} (244 MB)"
    assert any("ILSVRC2012_img_train.tar" in line and "tfds build imagenet2012 " in line for line in lines)
    assert not (project / "results").exists()
    done = run("--plan", "--only", "alpha2001/one")
    assert states(done)["alpha2001/one"] == "missing weights.zfnet, data.cifar10, paths.birds"
    assert "  weights.zfnet, for 1: made by beta2002/three" in done.stdout


def test_the_inputs_file_says_where_things_are(run, tmp_path, project):
    prepare(tmp_path / "tfds", "cifar10", "array_record")
    for name in ("birds", "imagenet", "zf.safetensors"):
        (tmp_path / name).mkdir()
    text = """
    data = {tfds = "tfds", imagenet2012 = "imagenet"}
    weights = {zfnet = "zf.safetensors", caffenet = "zf.safetensors", caffenet_fc6 = "lost.model"}
    paths = {birds = "birds"}
    overrides = {"alpha2001/one" = {epochs = 1, form = {steps = [2, 1], norm = 0.5}}}
    """
    done = run("--plan", text=text)
    assert states(done) == {
        "alpha2001/one": "ready",
        "alpha2001/two": "missing weights.caffenet_fc6",
        "beta2002/three": "ready",
    }
    assert f"weights.caffenet_fc6, for 1: expected at {tmp_path}/lost.model, as the inputs file says" in done.stdout
    write_experiment(project, "beta2002/three", "import os\nprint(os.environ['TFDS_DATA_DIR'])", CONFIG)
    done = run(text=text)
    assert done.returncode == 1
    assert (project / "results/logs/beta2002_three.log").read_text().splitlines()[-1] == f"{tmp_path}/tfds"
    assert (project / "results/alpha2001/one/argv.txt").read_text().splitlines() == [
        "--config=configs/alpha2001/one.py:paper",
        "--workdir=results/alpha2001/one",
        f"--config.weights={tmp_path}/zf.safetensors",
        f"--config.data=('cifar10', 'folder:{tmp_path}/birds')",
        "--config.epochs=1",
        "--config.form.steps=(2, 1)",
        "--config.form.norm=0.5",
    ]
    assert re.search(r"alpha2001/two +skipped: missing weights.caffenet_fc6$", done.stdout, re.MULTILINE)
    assert done.stderr.strip().endswith("reproduce: 1 failed or skipped: alpha2001/two")


def test_what_an_experiment_makes_is_in_the_directory_of_results(run, tmp_path, project):
    prepare(tmp_path / "home/tensorflow_datasets", "cifar10", "array_record")
    (project / "birds").mkdir()
    done = run("--only", "alpha2001/one", "--only", "beta2002", "--results", str(tmp_path / "out"), "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert (project / "order.txt").read_text().split() == ["beta2002/three", "alpha2001/one"]
    flags = (tmp_path / "out/alpha2001/one/argv.txt").read_text().splitlines()
    assert flags[2:] == [f"--config.weights={tmp_path}/out/beta2002/three/training/net-0/weights.safetensors"]


def test_an_experiment_whose_need_failed_is_skipped(run, tmp_path, project):
    prepare(tmp_path / "home/tensorflow_datasets", "cifar10", "array_record")
    (project / "birds").mkdir()
    write_experiment(project, "beta2002/three", "import sys\nsys.exit('broken')", CONFIG)
    done = run("--only", "alpha2001/one", "--only", "beta2002")
    assert re.search(r"alpha2001/one +skipped: it needs beta2002/three, which did not succeed$", done.stdout, re.M)
    assert not (project / "results/alpha2001").exists()
    assert done.stderr.strip().endswith("2 failed or skipped: beta2002/three, alpha2001/one")


def test_tfrecord_copies_need_conversion(run, tmp_path):
    folder = prepare(tmp_path / "home/tensorflow_datasets", "cifar10", "tfrecord")
    assert f"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record" in run("--plan").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[weights\n", "expected a TOML file, got"),
        ("[wieghts]\n", "expected known tables in .*, got 'wieghts'; is it weights?"),
        ('[weights]\ncafenet = "a"', "got 'weights.cafenet'; is it weights.caffenet?"),
        ("[weights]\ncaffenet = 3", "expected weights.caffenet in .* to be a path, got 3"),
        ('[overrides]\n"alpha2001/on" = {epochs = 1}', "got 'alpha2001/on'; is it alpha2001/one?"),
        ("data = 3", r"expected \[data\] in .* to be a table"),
    ],
)
def test_wrong_files_take_one_line(run, text, message):
    done = run(text=text)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(f"reproduce: --inputs: .*{message}.*\n", done.stderr)


def test_only_the_paper_tier_has_inputs(project):
    command = reproduce_command(project, "--inputs", "inputs.toml")
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=60)
    assert done.returncode == 2 and "expected --tier paper with it, got --tier default" in done.stderr


def test_the_page_has_a_valid_inputs_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import inputs

    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/paper_tier.md").read_text(), re.DOTALL)
    (tmp_path / "inputs.toml").write_text(text)
    found = inputs.read(str(tmp_path / "inputs.toml"), inputs.load(ROOT))
    assert found.given["data.imagenet2012"] == "folder:/data/imagenet" and found.overrides


def test_what_is_finished_depends_on_the_flags(run, tmp_path, project):
    """A run of another number of epochs is another run."""
    for name, epochs in (("beta2002/three", 1), ("alpha2001/two", 3)):
        workdir = project / "results" / name
        workdir.mkdir(parents=True)
        config = dataclasses.make_dataclass("Config", ["weights", "generator_weights", "data", "images", "epochs"])(
            "", "", (), "", epochs
        )
        (workdir / "config.json").write_text(completion.description(name, "paper", config))
        (workdir / "metrics.json").write_text('{"checksum": ""}')
    text = 'overrides = {"beta2002/three" = {epochs = 1}, "alpha2001/two" = {epochs = 1}}'
    assert states(run("--plan", text=text)).keys() == {"alpha2001/one", "alpha2001/two"}
    assert states(run("--plan")).keys() == {"alpha2001/one", "beta2002/three"}
