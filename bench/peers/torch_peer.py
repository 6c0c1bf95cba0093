#!/usr/bin/env python3
"""Times PyTorch: a line of JSON in, a line out.

{"case", "inputs", "setup", "code", "grad", "sample", "samples", "budget"} -> {"seconds"} or {"error"};
{"clear": true} drops what is kept of a case. bench/case.ts says what the fields mean; `code` is timed as bench/measure.ts does.
"""
import json
import math
import statistics
import sys
import timeit

try:
    import torch
except ImportError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
from torch import nn
from torch.nn import functional as F

WARM_UP = 0.05
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


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )


def mlp(*sizes):
    layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def train_step(model, shape, classes, channels_last, fused):
    """A step of Adam on one batch; `fused` takes the optimizer that is one kernel."""
    x, y = torch.randn(shape), torch.randint(0, classes, shape[:1])
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused=True if fused else None)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def prepare(request):
    scope = {"torch": torch, "F": F, "cnn": cnn, "mlp": mlp, "train_step": train_step}
    scope.update({f"x{i}": tensor(spec) for i, spec in enumerate(request.get("inputs", []))})
    exec(request.get("setup", ""), scope)
    return timeit.Timer(request["code"], globals=scope)


def measure(timer, sample, samples, budget):
    spent = 0.0
    while spent < WARM_UP:
        spent += timer.timeit(1)
    calls = 1
    while timer.timeit(calls) < sample:
        calls *= 2
    times, spent = [], 0.0
    while len(times) < samples or spent < budget:
        seconds = timer.timeit(calls)
        times.append(seconds / calls)
        spent += seconds
    return statistics.median(times)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    prepared = {}
    print(json.dumps({"name": f"torch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request.get("clear"):
                prepared.clear()
                answer = {}
            else:
                with torch.set_grad_enabled(request.get("grad", False)):
                    case = request["case"]
                    if case not in prepared:
                        prepared[case] = prepare(request)
                    pace = (request["sample"], request["samples"], request["budget"])
                    answer = {"seconds": measure(prepared[case], *pace)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
        print(json.dumps(answer), flush=True)


main()
