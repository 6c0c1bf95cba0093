#!/usr/bin/env python3
"""PyTorch's side of the cases; peer.py has the protocol."""
import math

import peer

with peer.importing():
    import torch
    from torch.nn import functional as F
    import torch_models

DTYPES = {
    "f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
    "i8": torch.int8, "u8": torch.uint8, "i32": torch.int32, "i64": torch.int64, "bool": torch.bool,
}


def tensor(spec):
    if not isinstance(spec, dict):
        return spec
    kind, shape, dtype, low, high = spec["kind"], spec["shape"], DTYPES[spec["dtype"]], spec["low"], spec["high"]
    if kind == "index":
        return torch.randint(low, high, shape)  # int64, PyTorch's own index type
    if kind == "distinct":
        return torch.randperm(math.prod(shape)).reshape(shape).to(dtype)
    if kind == "mask" or not dtype.is_floating_point:
        return torch.randint(low, high, shape).to(dtype)
    return torch.empty(shape, dtype=dtype).uniform_(low, high)


# ---- work: a step, and no need to wait for it


def train_step(model, shape, classes, optimizer, channels_last=False, kind="default", compiled=False, vocabulary=0):
    """`kind`: the optimizer's implementation, "fused", "foreach" or PyTorch's own choice. Inputs are token ids where there is a vocabulary."""
    x = torch.randint(0, vocabulary, shape) if vocabulary else torch.randn(shape)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y = torch.randint(0, classes, model(x).shape[:1])
    options = {} if kind == "default" else {kind: True}
    if optimizer == "SGD":
        options.update(lr=0.01, momentum=0.9)
    optimize = getattr(torch.optim, optimizer)(model.parameters(), **options)

    def loss(x, y):
        return F.cross_entropy(model(x), y)

    if compiled:
        loss = torch.compile(loss)

    def step():
        optimize.zero_grad()
        loss(x, y).backward()
        optimize.step()

    return step, None


def one(x):
    return x * 1.5


def eight(x):
    return (((x * 1.5 + 0.5 - 0.25).clamp_min(-1)) * 0.75 + 0.125).abs().clamp_max(2)


def elementwise(name, size, form):
    x = torch.randn(size)
    if form == "in place":
        y = torch.empty_like(x)
        if name == "one":
            return lambda: torch.mul(x, 1.5, out=y), None
        return lambda: torch.mul(x, 1.5, out=y).add_(0.5).sub_(0.25).clamp_min_(-1).mul_(0.75).add_(0.125).abs_().clamp_max_(2), None
    fn = {"one": one, "eight": eight}[name]
    if form == "compiled":
        fn = torch.compile(fn)
    return lambda: fn(x), None


torch.set_num_threads(peer.threads())
models = dict(vars(torch_models), lstm=torch_models.LSTM)
names = dict(models, torch=torch, F=F, train_step=train_step, elementwise=elementwise)
peer.serve(
    f"torch {torch.__version__}",
    names,
    context=lambda request: torch.set_grad_enabled(request.get("grad", False)),
    inputs=lambda request: {f"x{i}": tensor(spec) for i, spec in enumerate(request.get("inputs", []))},
)
