#!/usr/bin/env python3
"""ONNX Runtime's side of the cases; peer.py has the protocol. Models are graphs of opset 20, batch norms folded into the convolutions."""
import peer

with peer.importing():
    import numpy
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

random = numpy.random.default_rng(0)
TYPES = {numpy.dtype("f4"): TensorProto.FLOAT, numpy.dtype("i8"): TensorProto.INT64}


class Graph:
    """Nodes in the order in which they are made; a value is its name."""

    def __init__(self):
        self.nodes, self.weights, self.inputs, self.feeds = [], [], [], {}

    def __call__(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values):
        return self.constant(numpy.array(values, "i8"))

    def weight(self, *shape, scale=0.02):
        return self.constant(random.standard_normal(shape, dtype="f") * numpy.float32(scale))

    def input(self, array):
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[array.dtype], array.shape))
        self.feeds[name] = array
        return name

    def session(self, outputs):
        """A call of the model, inputs bound once and outputs where the runtime puts them."""
        infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "model", self.inputs, infos, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = peer.threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for name, array in self.feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name in outputs:
            binding.bind_output(name)
        return lambda: session.run_with_iobinding(binding)


# ---- images


def conv(g, x, inputs, outputs, kernel, stride=1, groups=1, activation=None):
    scale = (2 / (inputs // groups * kernel * kernel)) ** 0.5
    w = g.weight(outputs, inputs // groups, kernel, kernel, scale=scale)
    y = g("Conv", x, w, g.weight(outputs), strides=[stride] * 2, pads=[kernel // 2] * 4, group=groups, kernel_shape=[kernel] * 2)
    if activation == "relu6":
        return g("Clip", y, g.constant(numpy.float32(0)), g.constant(numpy.float32(6)))
    return g("Relu", y) if activation else y


def classifier(g, x, features):
    return g("Gemm", g("Flatten", g("GlobalAveragePool", x)), g.weight(features, 1000), g.weight(1000))


def resnet50(g, x):
    x = conv(g, x, 3, 64, 7, 2, activation="relu")
    x, inputs = g("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for i, count in enumerate([3, 4, 6, 3]):
        width = 64 << i
        for k in range(count):
            stride = 2 if i > 0 and k == 0 else 1
            y = conv(g, x, inputs, width, 1, activation="relu")
            y = conv(g, y, width, width, 3, stride, activation="relu")
            y = conv(g, y, width, 4 * width, 1)
            if k == 0:
                x = conv(g, x, inputs, 4 * width, 1, stride)
            x, inputs = g("Relu", g("Add", y, x)), 4 * width
    return [classifier(g, x, inputs)]


STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def mobilenet_v2(g, x):
    x, inputs = conv(g, x, 3, 32, 3, 2, activation="relu6"), 32
    for expansion, width, count, first in STAGES:
        for k in range(count):
            stride, hidden = first if k == 0 else 1, inputs * expansion
            y = x if expansion == 1 else conv(g, x, inputs, hidden, 1, activation="relu6")
            y = conv(g, y, hidden, hidden, 3, stride, hidden, "relu6")
            y = conv(g, y, hidden, width, 1)
            x, inputs = g("Add", x, y) if stride == 1 and inputs == width else y, width
    return [classifier(g, conv(g, x, 320, 1280, 1, activation="relu6"), 1280)]


# ---- tokens


def linear(g, x, inputs, outputs):
    return g("Add", g("MatMul", x, g.weight(inputs, outputs)), g.weight(outputs))


def norm(g, x, width):
    ones = g.constant(numpy.ones(width, "f"))
    return g("LayerNormalization", x, ones, g.weight(width), axis=-1, epsilon=1e-5)


def attention(g, x, width, heads, causal_past=None):
    """`causal_past`: keys and values (1,heads,S,D) before x; answers those of all too."""
    split = g("Reshape", linear(g, x, width, 3 * width), g.integers(0, 0, 3, heads, width // heads))
    parts = g("Split", g("Transpose", split, perm=[2, 0, 3, 1, 4]), outputs=3, axis=0, num_outputs=3)
    q, k, v = (g("Squeeze", part, g.integers(0)) for part in parts)
    if causal_past:
        k, v = (g("Concat", past, now, axis=2) for past, now in zip(causal_past, (k, v)))
    scale = g.constant(numpy.float32((width // heads) ** -0.5))
    scores = g("Softmax", g("Mul", g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2])), scale), axis=-1)
    y = g("Transpose", g("MatMul", scores, v), perm=[0, 2, 1, 3])
    return linear(g, g("Reshape", y, g.integers(0, 0, width)), width, width), (k, v)


def bert(layers=12, heads=12, width=768, inner=3072):
    def build(g, ids):
        positions = g.weight(1, g.feeds[ids].shape[1], width)
        x = norm(g, g("Add", g("Gather", g.weight(30522, width), ids), positions), width)
        for _ in range(layers):
            x = norm(g, g("Add", x, attention(g, x, width, heads)[0]), width)
            y = linear(g, g("Gelu", linear(g, x, width, inner)), inner, width)
            x = norm(g, g("Add", x, y), width)
        first = g("Gather", x, g.constant(numpy.array(0, "i8")), axis=1)
        return [x, g("Tanh", linear(g, first, width, width))]

    return build


def gpt2_step(context, layers=12, heads=12, width=768, vocabulary=50257):
    def build(g, ids):
        table = g.weight(vocabulary, width)
        x = g("Add", g("Gather", table, ids), g.weight(1, 1, width))
        now = []
        for _ in range(layers):
            shape = (1, heads, context, width // heads)
            past = [g.input(random.standard_normal(shape, dtype="f")) for _ in range(2)]
            y, keys = attention(g, norm(g, x, width), width, heads, past)
            now += keys
            x = g("Add", x, y)
            y = linear(g, g("Gelu", linear(g, norm(g, x, width), width, 4 * width), approximate="tanh"), 4 * width, width)
            x = g("Add", x, y)
        # As exports have it: the table a second time, turned around, so that it is packed once.
        logits = g("MatMul", norm(g, x, width), g.weight(width, vocabulary))
        return [g("ArgMax", logits, axis=-1, keepdims=0), *now]

    return build


def inference(build, shape, vocabulary=0):
    """A forward pass over random images, or token ids."""
    g = Graph()
    x = random.integers(0, vocabulary, shape) if vocabulary else random.standard_normal(shape, dtype="f")
    return g.session(build(g, g.input(x))), None


names = dict(resnet50=resnet50, mobilenet_v2=mobilenet_v2, bert=bert, gpt2_step=gpt2_step, inference=inference)
peer.serve(f"onnxruntime {onnxruntime.__version__}", names)
