"""Writes models/*.safetensors: small configurations of the models of lib/models written in plain PyTorch with the parameter names of
torchvision and Hugging Face. `NAME.safetensors` holds the weights under these names, `outputs.safetensors` inputs, outputs, gradients of
some parameters, and the parameter counts of the full sizes. `python3 test/golden/models.py`; torch and numpy.
"""

import math
import sys

sys.dont_write_bytecode = True

import make
import torch
from torch import nn
from torch.nn import functional as F

make.HERE = make.HERE / "models"
make.HERE.mkdir(exist_ok=True)


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual(nn.Module):
    """torchvision's BasicBlock (kernels 3, 3) and Bottleneck (1, 3, 1)."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        else:
            self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if hasattr(self, "conv3"):
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, counts, bottleneck, classes=1000, width=64):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for i, count in enumerate(counts):
            blocks = []
            for k in range(count):
                blocks.append(Residual(inputs, width << i, 2 if i > 0 and k == 0 else 1, bottleneck))
                inputs = (width << i) * (4 if bottleneck else 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean([2, 3]))


def conv_norm(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Sequential(conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([] if expansion == 1 else [conv_norm(inputs, hidden, 1)]),
            conv_norm(hidden, hidden, 3, stride, hidden), conv(hidden, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class MobileNetV2(nn.Module):
    def __init__(self, stages=STAGES, first=32, last=1280, classes=1000):
        super().__init__()
        layers, inputs = [conv_norm(3, first, 3, 2)], first
        for expansion, width, count, stride in stages:
            for k in range(count):
                layers.append(InvertedResidual(inputs, width, stride if k == 0 else 1, expansion))
                inputs = width
        self.features = nn.Sequential(*layers, conv_norm(inputs, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class Named(nn.Module):
    """A module of the given submodules: Hugging Face nests deeply."""

    def __init__(self, /, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def attend(q, k, v, heads, seen):
    """(B,T,C) three times; `seen` broadcasts to (B,heads,T,T)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return (scores.masked_fill(~seen, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)


class Bert(nn.Module):
    """Hugging Face's BertModel."""

    def __init__(self, vocabulary=30522, width=768, layers=12, heads=12, inner=3072, positions=512):
        super().__init__()
        self.heads, norm = heads, lambda: nn.LayerNorm(width, eps=1e-12)
        self.embeddings = Named(
            word_embeddings=nn.Embedding(vocabulary, width), position_embeddings=nn.Embedding(positions, width),
            token_type_embeddings=nn.Embedding(2, width), LayerNorm=norm())

        def layer():
            own = Named(**{name: nn.Linear(width, width) for name in ["query", "key", "value"]})
            return Named(
                attention=Named(self=own, output=Named(dense=nn.Linear(width, width), LayerNorm=norm())),
                intermediate=Named(dense=nn.Linear(width, inner)),
                output=Named(dense=nn.Linear(inner, width), LayerNorm=norm()))

        self.encoder = Named(layer=nn.ModuleList(layer() for _ in range(layers)))
        self.pooler = Named(dense=nn.Linear(width, width))

    def forward(self, ids, types, mask):
        e = self.embeddings
        x = e.word_embeddings(ids) + e.token_type_embeddings(types) + e.position_embeddings.weight[: ids.shape[1]]
        x = e.LayerNorm(x)
        for layer in self.encoder.layer:
            own, out = getattr(layer.attention, "self"), layer.attention.output
            y = attend(own.query(x), own.key(x), own.value(x), self.heads, mask[:, None, None, :])
            x = out.LayerNorm(x + out.dense(y))
            x = layer.output.LayerNorm(x + layer.output.dense(F.gelu(layer.intermediate.dense(x))))
        return x, torch.tanh(self.pooler.dense(x[:, 0]))


class Conv1D(nn.Module):
    """Hugging Face's linear layer of GPT-2, whose weight is (in,out)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs) * 0.02), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Gpt2(nn.Module):
    """Hugging Face's GPT2LMHeadModel."""

    def __init__(self, vocabulary=50257, context=1024, width=768, layers=12, heads=12):
        super().__init__()
        self.heads = heads

        def block():
            return Named(
                ln_1=nn.LayerNorm(width), attn=Named(c_attn=Conv1D(width, 3 * width), c_proj=Conv1D(width, width)),
                ln_2=nn.LayerNorm(width), mlp=Named(c_fc=Conv1D(width, 4 * width), c_proj=Conv1D(4 * width, width)))

        self.transformer = Named(
            wte=nn.Embedding(vocabulary, width), wpe=nn.Embedding(context, width),
            h=nn.ModuleList(block() for _ in range(layers)), ln_f=nn.LayerNorm(width))
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, ids):
        t, length = self.transformer, ids.shape[1]
        x = t.wte(ids) + t.wpe.weight[:length]
        past = torch.ones(length, length, dtype=torch.bool).tril()
        for block in t.h:
            x = x + block.attn.c_proj(attend(*block.attn.c_attn(block.ln_1(x)).chunk(3, -1), self.heads, past))
            x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x)), approximate="tanh"))
        return self.lm_head(t.ln_f(x))


class WordModel(nn.Module):
    """PyTorch's example of a word language model."""

    def __init__(self, vocabulary, width, layers):
        super().__init__()
        self.encoder, self.rnn = nn.Embedding(vocabulary, width), nn.LSTM(width, width, layers)
        self.decoder = nn.Linear(width, vocabulary)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids):
        y, (h, c) = self.rnn(self.encoder(ids))
        return self.decoder(y), h, c


def images(*shape):
    return {"x": torch.randn(*shape)}


def cases():
    ids = {"ids": torch.randint(0, 40, (2, 7))}
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0]])
    return {
        "resnet18": (ResNet([2, 2, 2, 2], False, 10, 4), images(2, 3, 40, 32), ["conv1.weight", "layer4.1.bn2.bias", "fc.weight"]),
        "resnet50": (ResNet([3, 4, 6, 3], True, 10, 2), images(2, 3, 40, 32), ["conv1.weight", "layer4.2.bn3.bias", "fc.weight"]),
        "mobilenetV2": (MobileNetV2([(1, 8, 1, 1), (6, 8, 2, 2), (6, 16, 2, 2)], 8, 24, 10), images(2, 3, 32, 24),
                        ["features.0.0.weight", "features.3.conv.1.0.weight", "classifier.1.bias"]),
        "bert": (Bert(40, 12, 2, 3, 20, 9), {**ids, "types": segments, "mask": mask},
                 ["embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.key.weight", "pooler.dense.bias"]),
        "gpt2": (Gpt2(40, 9, 12, 2, 3), ids,
                 ["transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "transformer.ln_f.bias"]),
        "lstm": (WordModel(40, 8, 2), {"ids": torch.randint(0, 40, (6, 3))}, ["encoder.weight", "rnn.weight_hh_l0", "rnn.bias_ih_l1"]),
    }


def counts():
    full = {
        "resnet18": lambda: ResNet([2, 2, 2, 2], False), "resnet34": lambda: ResNet([3, 4, 6, 3], False),
        "resnet50": lambda: ResNet([3, 4, 6, 3], True), "mobilenetV2": MobileNetV2, "bert": Bert,
        "miniLM": lambda: Bert(width=384, layers=6, inner=1536), "gpt2": Gpt2,
    }
    with torch.device("meta"):
        return {name: sum(p.numel() for p in build().parameters()) for name, build in full.items()}


def models():
    tensors = {}
    for name, (model, inputs, watched) in cases().items():
        make.randomise_buffers(model)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        if name == "gpt2":  # masks, as files of the hub have them
            state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 9, 9)
        make.save_safetensors(f"{name}.safetensors", state, {})
        for key, value in inputs.items():
            tensors[f"{name}/{key}"] = value.to(torch.int64) if value.dtype == torch.bool else value
        outputs = model.eval()(**inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for i, y in enumerate(outputs):
            tensors[f"{name}/y{i}"], tensors[f"{name}/r{i}"] = y, torch.randn_like(y)
        sum((y * tensors[f"{name}/r{i}"]).sum() for i, y in enumerate(outputs)).backward()
        parameters = dict(model.named_parameters())
        for key in watched:
            tensors[f"{name}/gradient/{key}"] = parameters[key].grad
    make.save_safetensors("outputs.safetensors", tensors, {"counts": counts()})


if __name__ == "__main__":
    torch.manual_seed(0)
    models()
    print("\n".join(f"{p.name} {p.stat().st_size} bytes" for p in sorted(make.HERE.iterdir())))
