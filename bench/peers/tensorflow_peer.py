#!/usr/bin/env python3
"""TensorFlow's side of the cases, by tf.function without Keras; peer.py has the protocol. A model is its variables and a function of x."""
import os

import peer

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
with peer.importing():
    import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(peer.threads())
tf.config.threading.set_inter_op_parallelism_threads(peer.threads())


def weight(*shape):
    """Within 1 / sqrt(fan-in); the last dim is the output's."""
    fan = 1
    for n in shape[:-1]:
        fan *= n
    return tf.Variable(tf.random.uniform(shape, -(fan**-0.5), fan**-0.5))


def dense(inputs, outputs):
    return weight(inputs, outputs), tf.Variable(tf.zeros(outputs))


# ---- models


def apply_mlp(layers, x):
    for w, b in layers[:-1]:
        x = tf.nn.relu(tf.nn.bias_add(x @ w, b))
    w, b = layers[-1]
    return tf.nn.bias_add(x @ w, b)


def mlp(*sizes):
    layers = [dense(a, b) for a, b in zip(sizes, sizes[1:])]
    return layers, lambda x: apply_mlp(layers, x)


def cnn():
    convolutions = [(weight(3, 3, 1, 32), tf.Variable(tf.zeros(32))), (weight(3, 3, 32, 64), tf.Variable(tf.zeros(64)))]
    layers = [dense(9216, 128), dense(128, 10)]

    def forward(x):  # (B,H,W,C)
        for w, b in convolutions:
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w, 1, "VALID"), b))
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return apply_mlp(layers, tf.reshape(x, [x.shape[0], -1]))

    return (convolutions, layers), forward


def lstm():
    layers = [(*dense(256, 1024), weight(256, 1024)) for _ in range(2)]
    head = dense(256, 65)

    def forward(x):  # (T,B,I) -> (T*B,C)
        for w, b, u in layers:
            h = c = tf.zeros([x.shape[1], 256])
            states = []
            for given in tf.unstack(tf.tensordot(x, w, 1) + b):
                i, f, g, o = tf.split(given + h @ u, 4, 1)
                c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
                h = tf.sigmoid(o) * tf.tanh(c)
                states.append(h)
            x = tf.stack(states)
        return apply_mlp([head], tf.reshape(x, [-1, 256]))

    return (layers, head), forward


# ---- work: a step, and no need to wait for it


def train_step(model, shape, classes, optimizer, xla):
    params, forward = model
    variables = tf.nest.flatten(params)
    moments = [[tf.Variable(tf.zeros_like(v)) for _ in range(2)] for v in variables]
    count = tf.Variable(0.0)
    x = tf.random.normal([shape[0], *shape[2:], shape[1]] if len(shape) == 4 else shape)
    y = tf.random.uniform(forward(x).shape[:1], 0, classes, tf.int32)
    decay = {"Adam": 0.0, "AdamW": 1e-2}[optimizer]
    lr, beta1, beta2, eps = 1e-3, 0.9, 0.999, 1e-8

    @tf.function(jit_compile=xla)
    def update(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, forward(x)))
        count.assign_add(1.0)
        powers = beta1**count, beta2**count
        for v, (mean, square), g in zip(variables, moments, tape.gradient(loss, variables)):
            if decay:
                v.assign(v * (1 - lr * decay))
            # The kernel of Adam that Keras, too, was built on.
            tf.raw_ops.ResourceApplyAdam(
                var=v.handle, m=mean.handle, v=square.handle, beta1_power=powers[0], beta2_power=powers[1],
                lr=lr, beta1=beta1, beta2=beta2, epsilon=eps, grad=g,
            )
        return loss

    return lambda: update(x, y), None


def elementwise(name, size, form):
    def eight(x):
        return tf.minimum(tf.abs(tf.maximum(x * 1.5 + 0.5 - 0.25, -1.0) * 0.75 + 0.125), 2.0)

    fn = tf.function({"one": lambda x: x * 1.5, "eight": eight}[name], jit_compile=form == "xla")
    x = tf.random.normal([size])
    return lambda: fn(x), None


names = dict(mlp=mlp, cnn=cnn, lstm=lstm, train_step=train_step, elementwise=elementwise)
peer.serve(f"tensorflow {tf.__version__}", names)
