#!/usr/bin/env python3
"""JAX's side of the cases, by jit; peer.py has the protocol. A model is its parameters and a function of them and x."""
import os

import peer

os.environ["JAX_PLATFORMS"] = "cpu"
with peer.importing():
    # XLA takes as many threads as the process may use cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: peer.threads()])
    import functools

    import jax
    import numpy
    from jax import lax, nn
    from jax import numpy as jnp

random = numpy.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(random.standard_normal(shape, dtype="f"))


def weight(*shape):
    """Within 1 / sqrt(fan-in); the last dim is the output's."""
    bound = 1 / numpy.sqrt(numpy.prod(shape[:-1]))
    return jnp.asarray(random.uniform(-bound, bound, shape).astype("f"))


def dense(inputs, outputs):
    return weight(inputs, outputs), jnp.zeros(outputs)


# ---- models


def apply_mlp(layers, x):
    for w, b in layers[:-1]:
        x = nn.relu(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


def mlp(*sizes):
    return [dense(a, b) for a, b in zip(sizes, sizes[1:])], apply_mlp


def cnn():
    params = {
        "convolutions": [(weight(3, 3, 1, 32), jnp.zeros(32)), (weight(3, 3, 32, 64), jnp.zeros(64))],
        "layers": [dense(9216, 128), dense(128, 10)],
    }

    def forward(params, x):  # (B,H,W,C)
        for w, b in params["convolutions"]:
            x = nn.relu(lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return apply_mlp(params["layers"], x.reshape(x.shape[0], -1))

    return params, forward


def lstm():
    params = {"layers": [(*dense(256, 1024), weight(256, 1024)) for _ in range(2)], "head": dense(256, 65)}

    def forward(params, x):  # (T,B,I) -> (T*B,C)
        for w, b, u in params["layers"]:

            def cell(carry, given, u=u):
                h, c = carry
                i, f, g, o = jnp.split(given + h @ u, 4, -1)
                c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
                h = nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zeros = jnp.zeros((x.shape[1], 256))
            _, x = lax.scan(cell, (zeros, zeros), x @ w + b)
        w, b = params["head"]
        return x.reshape(-1, 256) @ w + b

    return params, forward


# ---- work: a step that begins, and the wait for it


def train_step(model, shape, classes, optimizer):
    params, forward = model
    x = normal(*([shape[0], *shape[2:], shape[1]] if len(shape) == 4 else shape))
    rows = jax.eval_shape(forward, params, x).shape[0]
    y = jnp.asarray(random.integers(0, classes, rows))
    decay = {"Adam": 0.0, "AdamW": 1e-2}[optimizer]
    lr, beta1, beta2, eps = 1e-3, 0.9, 0.999, 1e-8

    def loss(params, x, y):
        logits = nn.log_softmax(forward(params, x))
        return -jnp.take_along_axis(logits, y[:, None], 1).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, x, y):
        params, means, squares, count = state
        value, gradients = jax.value_and_grad(loss)(params, x, y)
        count += 1
        means = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, means, gradients)
        squares = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, squares, gradients)
        rate, root = lr / (1 - beta1**count), jnp.sqrt(1 - beta2**count)
        params = jax.tree.map(
            lambda p, m, v: p * (1 - lr * decay) - rate * m / (jnp.sqrt(v) / root + eps), params, means, squares
        )
        return (params, means, squares, count), value

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    state = (params, zeros(params), zeros(params), jnp.zeros(()))

    def step():
        nonlocal state
        state, _ = update(state, x, y)

    return step, lambda: jax.block_until_ready(state)


def elementwise(name, size, form):
    def eight(x):
        return jnp.minimum(jnp.abs(jnp.maximum(x * 1.5 + 0.5 - 0.25, -1) * 0.75 + 0.125), 2)

    fn = jax.jit({"one": lambda x: x * 1.5, "eight": eight}[name])
    x, y = normal(size), None

    def step():
        nonlocal y
        y = fn(x)

    return step, lambda: jax.block_until_ready(y)


names = dict(mlp=mlp, cnn=cnn, lstm=lstm, train_step=train_step, elementwise=elementwise)
peer.serve(f"jax {jax.__version__}", names)
