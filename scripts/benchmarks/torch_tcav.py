"""The captum side of tcav.py: captum's TCAV with its default classifier, from activations on disk.

Protocol of torch_maps.py. Needs scikit-learn beside torch and captum, for captum's classifier.

    {"do": "load", "folder": F, "threads": 2}    activations of a concept and of random sets from F/examples.npz
    {"do": "time", "method": "tcav", "loops": 1}    replies {"seconds": for the concept against all sets}; "classifier"
                                                    times the fits alone, of examples in memory
"""

import json
import os
import pathlib
import sys
import time

try:
    import numpy as np
    import sklearn
    import torch
    import torch_maps
    from captum.concept import TCAV, Concept
    from captum.concept._utils.classifier import DefaultClassifier
    from torch.utils.data import DataLoader, TensorDataset
except ImportError as missing:
    print(json.dumps({"error": str(missing)}))
    sys.exit(1)


class Network(torch.nn.Module):
    """An identity layer, so that activations are the examples, and a linear output."""

    def __init__(self, dimensions):
        super().__init__()
        self.layer, self.head = torch.nn.Identity(), torch.nn.Linear(dimensions, 2)

    def forward(self, x):
        return self.head(self.layer(x))


class Side:
    """A concept and random sets; captum's TCAV has stored their activations."""

    def __init__(self, folder):
        with np.load(os.path.join(folder, "examples.npz")) as file:
            arrays = {name: torch.from_numpy(array) for name, array in file.items()}
        self.images, self.folder = arrays.pop("gradients"), os.path.join(folder, "captum")
        self.parts = [arrays["concept"], *(array for name, array in arrays.items() if name != "concept")]
        self.net = Network(self.images.shape[1])
        batches = [DataLoader(part, batch_size=len(part)) for part in self.parts]
        self.concepts = [Concept(number, str(number), batch) for number, batch in enumerate(batches)]
        TCAV(self.net, ["layer"], save_path=self.folder).generate_activations(
            {concept: ["layer"] for concept in self.concepts}
        )

    def seconds(self, method, loops):
        spent = 0.0
        for _ in range(loops):
            tcav = TCAV(self.net, ["layer"], save_path=self.folder)
            start = time.perf_counter()
            if method == "tcav":
                tcav.interpret(self.images, [[self.concepts[0], other] for other in self.concepts[1:]], target=0)
            else:
                for part in self.parts[1:]:
                    self.classify(part)
            spent += time.perf_counter() - start
            forget_cavs(self.folder)
        return spent

    def classify(self, part):
        labels = torch.tensor([0] * len(self.parts[0]) + [1] * len(part))
        examples = TensorDataset(torch.cat([self.parts[0], part]), labels)
        DefaultClassifier().train_and_eval(DataLoader(examples, batch_size=len(labels)))


def forget_cavs(folder):
    """Removes captum's saved CAVs, which it would reuse; its activations stay."""
    for path in pathlib.Path(folder).glob("*/*-layer.pkl"):
        path.unlink()


def reply(side, request):
    if request["do"] == "load":
        torch.set_num_threads(request["threads"])
        return Side(request["folder"]), {}
    return side, {"seconds": side.seconds(request["method"], request["loops"])}


if __name__ == "__main__":
    torch_maps.main(reply, sklearn=sklearn.__version__)
