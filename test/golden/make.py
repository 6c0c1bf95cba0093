"""Writes the golden files beside this script, from PyTorch 2.13 on CPU: `python3 test/golden/make.py`; torch and numpy.

layers.safetensors      layers with options: input, parameters, output, gradients, buffers after the call (f64)
training.safetensors    five steps of a small CNN from one set of weights, for each optimizer (f64), and f32 losses
optimizers.json         trajectories of a quadratic, for each option of each optimizer
schedules.json          learning rates, step by step
init.json               statistics of the initialisation functions and of fresh layers
transforms.json         torch.func: vjp, jvp, jacobians, hessians, per-example gradients of a small network (f64)
"""

import json
import math
import re
import struct
from pathlib import Path

import torch
from torch import nn, optim

HERE = Path(__file__).parent
torch.set_num_threads(1)


def camel(name):
    return re.sub(r"_([a-z])", lambda m: m[1].upper(), name)


def camel_keys(options):
    return {camel(key): value for key, value in options.items()}


def save_json(name, value):
    (HERE / name).write_text(json.dumps(value) + "\n")


def save_safetensors(name, tensors, metadata):
    """8 bytes of length, the JSON header, the data; https://github.com/huggingface/safetensors"""
    codes = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64"}
    header, blocks, offset = {"__metadata__": {k: json.dumps(v) for k, v in metadata.items()}}, [], 0
    for key, tensor in tensors.items():
        block = tensor.detach().contiguous().numpy().tobytes()
        end = offset + len(block)
        header[key] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        blocks.append(block)
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (HERE / name).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


# ---- layers: (name of the class here and there, arguments, options in Python's spelling, input shape, training)

LAYERS = [
    ("Linear", [5, 3], {}, [4, 5], True),
    ("Linear", [5, 3], {"bias": False}, [2, 3, 5], True),
    ("Conv2d", [3, 4, 3], {}, [2, 3, 7, 6], True),
    ("Conv2d", [4, 6, 3], {"stride": 2, "padding": 1}, [2, 4, 8, 9], True),
    ("Conv2d", [4, 6, 3], {"dilation": 2, "groups": 2, "padding": "same"}, [2, 4, 8, 7], True),
    ("Conv2d", [2, 3, 4], {"padding": "same"}, [1, 2, 6, 5], True),
    ("Conv2d", [2, 3, 2], {"padding": "valid", "bias": False}, [1, 2, 5, 5], True),
    ("Conv2d", [3, 4, [3, 1]], {"padding": [2, 0], "stride": [1, 2], "dilation": [2, 1]}, [2, 3, 7, 6], True),
    ("Conv2d", [4, 8, 3], {"groups": 4, "padding": 1}, [2, 4, 5, 5], True),
    ("Conv2d", [8, 5, 1], {}, [2, 8, 4, 3], True),
    ("MaxPool2d", [2], {}, [2, 3, 7, 6], True),
    ("MaxPool2d", [3], {"stride": 2, "padding": 1}, [2, 3, 8, 7], True),
    ("MaxPool2d", [2], {"stride": 1, "dilation": 2}, [1, 2, 6, 5], True),
    ("AvgPool2d", [2], {}, [2, 3, 7, 6], True),
    ("AvgPool2d", [3], {"stride": 2, "padding": 1}, [2, 3, 8, 7], True),
    ("AvgPool2d", [[3, 2]], {"padding": 1, "count_include_pad": False}, [2, 3, 8, 7], True),
    ("AvgPool2d", [2], {"divisor_override": 3}, [1, 2, 4, 4], True),
    ("MaxPool2d", [3], {"stride": 2, "ceil_mode": True}, [1, 2, 6, 8], True),
    ("AvgPool2d", [3], {"stride": 2, "padding": 1, "ceil_mode": True}, [1, 2, 6, 8], True),
    ("AdaptiveAvgPool2d", [1], {}, [2, 3, 5, 7], True),
    ("AdaptiveAvgPool2d", [[3, 2]], {}, [2, 3, 5, 7], True),
    ("BatchNorm1d", [5], {}, [6, 5], True),
    ("BatchNorm1d", [5], {"momentum": 0.3, "eps": 1e-3}, [3, 5, 4], True),
    ("BatchNorm1d", [5], {}, [6, 5], False),
    ("BatchNorm2d", [3], {}, [4, 3, 5, 2], True),
    ("BatchNorm2d", [3], {}, [4, 3, 5, 2], False),
    ("BatchNorm2d", [3], {"affine": False}, [4, 3, 5, 2], True),
    ("BatchNorm2d", [3], {"track_running_stats": False}, [4, 3, 5, 2], False),
    ("BatchNorm2d", [3], {"momentum": None}, [4, 3, 5, 2], True),
    ("LayerNorm", [6], {}, [3, 4, 6], True),
    ("LayerNorm", [[4, 6]], {"eps": 1e-3}, [3, 4, 6], True),
    ("LayerNorm", [6], {"bias": False}, [5, 6], True),
    ("LayerNorm", [6], {"elementwise_affine": False}, [5, 6], True),
    ("Embedding", [7, 4], {}, [3, 5], True),
    ("Embedding", [7, 4], {"padding_idx": 2}, [3, 5], True),
    ("Flatten", [], {}, [2, 3, 4], True),
    ("Flatten", [], {"start_dim": 0, "end_dim": 1}, [2, 3, 4], True),
    ("ReLU", [], {}, [3, 7], True),
    ("ReLU6", [], {}, [3, 7], True),
    ("GELU", [], {}, [3, 7], True),
    ("GELU", [], {"approximate": "tanh"}, [3, 7], True),
    ("SiLU", [], {}, [3, 7], True),
    ("Mish", [], {}, [3, 7], True),
    ("Sigmoid", [], {}, [3, 7], True),
    ("Tanh", [], {}, [3, 7], True),
    ("LeakyReLU", [], {}, [3, 7], True),
    ("LeakyReLU", [0.2], {}, [3, 7], True),
    ("ELU", [], {}, [3, 7], True),
    ("ELU", [0.7], {}, [3, 7], True),
    ("Softplus", [], {}, [3, 7], True),
    ("Softplus", [], {"beta": 2, "threshold": 3}, [3, 7], True),
    ("Hardtanh", [], {"min_val": -0.5, "max_val": 2}, [3, 7], True),
    ("Softmax", [1], {}, [3, 7], True),
    ("Softmax", [0], {}, [3, 7], True),
    ("LogSoftmax", [-1], {}, [3, 7], True),
    ("MultiheadAttention", [12, 3], {}, [2, 5, 12], True),
    ("MultiheadAttention", [8, 2], {"bias": False}, [2, 3, 8], False),
    ("Conv1d", [4, 6, 3], {}, [2, 4, 9], True),
    ("Conv1d", [4, 6, 4], {"padding": "same", "groups": 2, "dilation": 2}, [2, 4, 9], True),
    ("Conv1d", [3, 5, 3], {"stride": 2, "padding": 1, "bias": False}, [3, 8], True),
    ("Conv3d", [3, 4, 3], {}, [2, 3, 4, 5, 6], True),
    ("Conv3d", [4, 6, [2, 3, 1]], {"stride": [2, 1, 2], "padding": [1, 2, 0], "dilation": [2, 1, 1], "groups": 2},
     [1, 4, 6, 5, 4], True),
    ("Conv3d", [2, 3, [2, 3, 4]], {"padding": "same", "bias": False}, [1, 2, 4, 3, 5], True),
    ("ConvTranspose1d", [4, 6, 3], {"stride": 2, "padding": 1, "output_padding": 1}, [2, 4, 5], True),
    ("ConvTranspose2d", [4, 3, 3], {}, [2, 4, 5, 3], True),
    ("ConvTranspose2d", [4, 6, 3], {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, [2, 4, 4, 5], True),
    ("ConvTranspose2d", [3, 2, [2, 3]], {"stride": [3, 1], "dilation": [1, 2], "bias": False}, [3, 4, 3], True),
    ("GroupNorm", [2, 6], {}, [3, 6, 4, 2], True),
    ("GroupNorm", [3, 6], {"eps": 1e-3, "affine": False}, [3, 6], True),
    ("InstanceNorm1d", [3], {"affine": True}, [2, 3, 7], True),
    ("InstanceNorm2d", [3], {}, [2, 3, 4, 5], True),
    ("RMSNorm", [6], {}, [3, 4, 6], True),
    ("RMSNorm", [[4, 6]], {"eps": 1e-3}, [3, 4, 6], True),
    ("RMSNorm", [6], {"elementwise_affine": False}, [5, 6], True),
    ("RNN", [4, 5], {}, [6, 3, 4], True),
    ("RNN", [4, 5], {"nonlinearity": "relu", "bidirectional": True, "bias": False}, [6, 3, 4], True),
    ("LSTM", [4, 5], {}, [6, 3, 4], True),
    ("LSTM", [4, 5], {"num_layers": 2, "bidirectional": True, "batch_first": True}, [3, 6, 4], True),
    ("LSTM", [4, 5], {"num_layers": 2, "bias": False, "dropout": 0.5}, [6, 4], False),
    ("GRU", [4, 5], {}, [6, 3, 4], True),
    ("GRU", [4, 5], {"num_layers": 2, "bidirectional": True, "batch_first": True}, [3, 6, 4], True),
    ("GRU", [4, 5], {"bias": False}, [6, 4], True),
    ("TransformerEncoderLayer", [8, 2], {"dim_feedforward": 12, "dropout": 0.0}, [2, 5, 8], True),
    ("TransformerEncoderLayer", [8, 2], {"dim_feedforward": 12, "activation": "gelu", "norm_first": True,
                                         "layer_norm_eps": 1e-3}, [2, 5, 8], False),
]
HERE_ONLY = {kind: {"batch_first": True} for kind in ["MultiheadAttention", "TransformerEncoderLayer"]}


def joined(y):
    """What a layer answers as one tensor: outputs and states one after the other."""
    return y if isinstance(y, torch.Tensor) else torch.cat([joined(part).flatten() for part in y])


def randomise(module):
    """Weights and statistics away from their defaults, so that leaving one out shows."""
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0.2, 0.5)
        randomise_buffers(module)


def randomise_buffers(module):
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(0.1, 0.5)
        if name.endswith("running_var"):
            b.uniform_(0.5, 2)


def layers():
    tensors, cases = {}, []
    for kind, args, options, shape, training in LAYERS:
        module = getattr(nn, kind)(*args, **options, **HERE_ONLY.get(kind, {})).double().train(training)
        randomise(module)
        key = str(len(cases))
        embedding = kind == "Embedding"
        x = torch.randint(0, args[0], shape) if embedding else torch.randn(shape, dtype=torch.float64) * 2
        x.requires_grad_(not embedding)
        tensors[f"{key}/x"] = x
        for name, value in module.state_dict().items():
            tensors[f"{key}/before/{camel(name)}"] = value.clone()
        y = module(x, x, x)[0] if kind == "MultiheadAttention" else joined(module(x))
        r = torch.randn_like(y)
        (y * r).sum().backward()
        tensors[f"{key}/r"], tensors[f"{key}/y"] = r, y
        if not embedding:
            tensors[f"{key}/gradient"] = x.grad
        for name, p in module.named_parameters():
            tensors[f"{key}/gradient/{camel(name)}"] = p.grad
        for name, b in module.named_buffers():
            tensors[f"{key}/after/{camel(name)}"] = b
        cases.append({"kind": kind, "args": args, "options": camel_keys(options), "training": training})
    save_safetensors("layers.safetensors", tensors, {"cases": cases})


# ---- training

def cnn():
    """No bias before a batch norm: its gradient is 0 but for rounding, which Adam would blow up."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(12 * 3 * 3, 24), nn.ReLU(), nn.Linear(24, 10))


TRAINING = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.003}),
    ("RMSprop", {"lr": 0.003, "centered": True}),
]


def train(model, kind, options, x, y, steps=5):
    """One fixed batch, so that every run sees the same data; the losses before each step."""
    optimizer = getattr(optim, kind)(model.parameters(), **options)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def training():
    tensors, runs = {}, []
    # Weights and data are exact in f32, so that both precisions start from the same numbers.
    initial = {k: v.double() if v.is_floating_point() else v for k, v in cnn().state_dict().items()}
    x, y = torch.randn(8, 1, 12, 12).double(), torch.randint(0, 10, (8,))
    tensors["x"], tensors["y"] = x, y
    for name, value in initial.items():
        tensors[f"initial/{camel(name)}"] = value
    for kind, options in TRAINING:
        key, model = str(len(runs)), cnn().double()
        model.load_state_dict(initial)
        tensors[f"{key}/losses"] = train(model, kind, options, x, y)
        for name, value in model.state_dict().items():
            tensors[f"{key}/final/{camel(name)}"] = value
        run = {"kind": kind, "options": camel_keys(options), "f32": kind == "SGD"}
        if run["f32"]:
            model = cnn()
            model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in initial.items()})
            tensors[f"{key}/losses32"] = train(model, kind, options, x.float(), y)
        runs.append(run)
    save_safetensors("training.safetensors", tensors, {"runs": runs})


# ---- optimizers: the gradient of sum(a * (p - b)^2) / 2, written out, so that only the update is tested

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": [0.8, 0.95], "eps": 1e-3}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.2}),
    ("Adam", {"lr": 0.3, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.1, "centered": True}),
    ("RMSprop", {"lr": 0.05, "centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "maximize": True}),
]


def optimizers():
    a, b, start = (torch.randn(6, dtype=torch.float64) for _ in range(3))
    a = a.abs() + 0.1
    runs = []
    for kind, options in OPTIMIZERS:
        p = start.clone().requires_grad_()
        optimizer, path = getattr(optim, kind)([p], **options), []
        for _ in range(10):
            p.grad = (a * (p - b)).detach()
            optimizer.step()
            path.append(p.tolist())
        runs.append({"kind": kind, "options": camel_keys(options), "path": path})
    norms = []
    for norm in [1.0, 2.0, 3.0, math.inf]:
        for limit in [0.5, 100.0]:
            ps = [torch.zeros(6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
            ps[0].grad, ps[1].grad = a.clone(), b.clone()
            total = nn.utils.clip_grad_norm_(ps, limit, norm_type=norm)
            norms.append({"normType": "inf" if norm == math.inf else norm, "limit": limit, "total": total.item(),
                          "gradients": [p.grad.tolist() for p in ps]})
    quadratic = {"a": a.tolist(), "b": b.tolist(), "start": start.tolist()}
    save_json("optimizers.json", {**quadratic, "runs": runs, "clipNorm": norms})


# ---- schedules

SCHEDULES = [
    ("StepLR", {"step_size": 4}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 5, 5, 11], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 8}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "anneal_strategy": "linear", "pct_start": 0.2}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "div_factor": 10, "final_div_factor": 100}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "three_phase": True, "base_momentum": 0.7, "max_momentum": 0.9}),
]


def learning_rates(make, steps=24):
    """[[lr of group 0, lr of group 1, momentum of group 0], ...] from the start to the last step."""
    first, second = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([{"params": [first]}, {"params": [second], "lr": 0.02}], lr=0.1, momentum=0.9)
    schedulers, path = make(optimizer), []
    for _ in range(steps + 1):
        a, b = optimizer.param_groups
        path.append([a["lr"], b["lr"], a["momentum"]])
        optimizer.step()
        if len(path) <= steps:
            for scheduler in schedulers:
                scheduler.step()
    return path


def schedules():
    at = optim.lr_scheduler
    runs = []
    for kind, options in SCHEDULES:
        path = learning_rates(lambda o: [getattr(at, kind)(o, **options)])
        renamed = {k.replace("T_max", "t_max"): v for k, v in options.items()}
        runs.append({"kind": kind, "options": camel_keys(renamed), "path": path})
    chained = learning_rates(lambda o: [at.LinearLR(o, start_factor=0.25, total_iters=4), at.CosineAnnealingLR(o, 20)])
    inverse = learning_rates(lambda o: [at.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.95**t])])
    save_json("schedules.json", {"runs": runs, "chained": chained, "lambda": inverse})


# ---- initialisation: bounds and moments, since random streams differ

INIT = [
    ("uniform_", {"a": -0.3, "b": 0.7}),
    ("normal_", {"mean": 0.5, "std": 0.2}),
    ("trunc_normal_", {"mean": 0.1, "std": 0.5, "a": -0.6, "b": 0.9}),
    ("xavier_uniform_", {}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {"gain": 0.5}),
    ("kaiming_uniform_", {}),
    ("kaiming_uniform_", {"a": 0.5, "mode": "fan_out"}),
    ("kaiming_uniform_", {"nonlinearity": "relu"}),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
]
FRESH = [
    ("Linear", [300, 200]),
    ("Conv2d", [32, 64, 5]),
    ("Embedding", [300, 200]),
    ("BatchNorm2d", [40]),
    ("LayerNorm", [40]),
]
GAINS = [["linear"], ["conv2d"], ["sigmoid"], ["tanh"], ["relu"], ["leaky_relu"], ["leaky_relu", 0.2], ["selu"]]


def moments(t):
    return {"mean": t.mean().item(), "std": t.std(correction=0).item(), "min": t.min().item(), "max": t.max().item()}


def init():
    functions = []
    for name, options in INIT:
        t = getattr(nn.init, name)(torch.empty(128, 64, 3, 3, dtype=torch.float64), **options)
        options = {k: camel(v) if isinstance(v, str) else v for k, v in options.items()}
        functions.append({"name": camel(name), "options": options, **moments(t)})
    fresh = []
    for kind, args in FRESH:
        module = getattr(nn, kind)(*args)
        parameters = {k: moments(v.detach()) for k, v in module.named_parameters()}
        fresh.append({"kind": kind, "args": args, "parameters": parameters})
    gains = [{"args": [camel(g[0]), *g[1:]], "gain": nn.init.calculate_gain(*g)} for g in GAINS]
    save_json("init.json", {"shape": [128, 64, 3, 3], "functions": functions, "fresh": fresh, "gains": gains})


# ---- function transforms


def transforms():
    func = torch.func
    w1, w2, b = (torch.randn(*shape, dtype=torch.float64) for shape in ([3, 4], [4, 2], [4]))
    x, t = torch.randn(5, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0, 1])
    u = torch.randn(2, dtype=torch.float64)

    def net(x):
        return torch.softmax(torch.tanh(x @ w1 + b) @ w2, -1)

    def loss(w1, x, y):
        logits = torch.tanh(x @ w1 + b) @ w2
        return nn.functional.cross_entropy(logits.unsqueeze(0), y.unsqueeze(0))

    def energy(x):
        return (x[1:] - x[:-1] ** 2).square().sum() * 100 + (1 - x[:-1]).square().sum()

    example = x[0]
    save_json(
        "transforms.json",
        {
            **{name: value.tolist() for name, value in dict(w1=w1, w2=w2, b=b, x=x, y=y, t=t, u=u).items()},
            "vjp": func.vjp(net, example)[1](u)[0].tolist(),
            "jvp": func.jvp(net, (example,), (t,))[1].tolist(),
            "jacobian": func.jacrev(net)(example).tolist(),
            "jacobians": func.vmap(func.jacrev(net))(x).tolist(),
            "hessian": func.hessian(energy)(example).tolist(),
            "hessians": func.vmap(func.hessian(net))(x).tolist(),
            "gradients": func.vmap(func.grad(loss), in_dims=(None, 0, 0))(w1, x, y).tolist(),
            "hvp": func.jvp(func.grad(energy), (example,), (t,))[1].tolist(),
        },
    )


if __name__ == "__main__":
    for section in [layers, training, optimizers, schedules, init, transforms]:
        torch.manual_seed(0)
        section()
    print("\n".join(f"{p.name} {p.stat().st_size} bytes" for p in sorted(HERE.iterdir()) if p.suffix != ".py"))
