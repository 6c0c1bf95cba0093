"""PyTorch's models of the cases of bench/models.ts and bench/full.ts, each in the form that is fastest there."""
import torch
from torch import nn
from torch.nn import functional as F


def mlp(*sizes):
    layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.LSTM(256, 256, 2)
        self.head = nn.Linear(256, 65)

    def forward(self, x):  # (T,B,I) -> (T*B,C)
        return self.head(self.layers(x)[0].flatten(0, 1))


def conv_norm(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)


class Residual(nn.Module):
    """Two 3x3 convolutions, or a 3x3 between two of 1x1, and what they are added to."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.body = nn.Sequential(
                *conv_norm(inputs, width, 1), nn.ReLU(), *conv_norm(width, width, 3, stride), nn.ReLU(),
                *conv_norm(width, outputs, 1))
        else:
            self.body = nn.Sequential(*conv_norm(inputs, width, 3, stride), nn.ReLU(), *conv_norm(width, width, 3))
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(*conv_norm(inputs, outputs, 1, stride))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet(counts, bottleneck):
    blocks, inputs = [], 64
    for i, count in enumerate(counts):
        for k in range(count):
            blocks.append(Residual(inputs, 64 << i, 2 if i > 0 and k == 0 else 1, bottleneck))
            inputs = (64 << i) * (4 if bottleneck else 1)
    return nn.Sequential(
        *conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def resnet18():
    return resnet([2, 2, 2, 2], False)


def resnet50():
    return resnet([3, 4, 6, 3], True)


class Inverted(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        first = [] if expansion == 1 else [*conv_norm(inputs, hidden, 1), nn.ReLU6()]
        self.body = nn.Sequential(
            *first, *conv_norm(hidden, hidden, 3, stride, hidden), nn.ReLU6(), *conv_norm(hidden, outputs, 1))

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def mobilenet_v2():
    blocks, inputs = [], 32
    for expansion, width, count, stride in STAGES:
        for k in range(count):
            blocks.append(Inverted(inputs, width, stride if k == 0 else 1, expansion))
            inputs = width
    return nn.Sequential(
        *conv_norm(3, 32, 3, 2), nn.ReLU6(), *blocks, *conv_norm(320, 1280, 1), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x, causal, past=None):
        """`past`: keys and values (B,heads,S,D) of the tokens before; answers them with those of x too."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal and past is None)
        return self.out(y.transpose(1, 2).flatten(2)), (k, v)


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)


class Bert(nn.Module):
    """(B,T) -> (B,T,C)"""

    def __init__(self, layers=12, heads=12, width=768, inner=3072, vocabulary=30522):
        super().__init__()
        self.tokens, self.positions, self.types = (nn.Embedding(n, width) for n in (vocabulary, 512, 2))
        self.norm, self.pooler = nn.LayerNorm(width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))

    def forward(self, ids):
        x = self.norm(self.tokens(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0])
        for b in self.blocks:
            x = b.norm1(x + b.attention(x, False)[0])
            x = b.norm2(x + b.down(F.gelu(b.up(x))))
        return x, torch.tanh(self.pooler(x[:, 0]))


class GPT(nn.Module):
    """(B,T) -> (B*T,V), the embedding's weight also reads the output."""

    def __init__(self, layers=12, heads=12, width=768, context=1024, vocabulary=50257):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def logits(self, x, past):
        now = []
        for b, before in zip(self.blocks, past):
            y, keys = b.attention(b.norm1(x), True, before)
            now.append(keys)
            x = x + y
            x = x + b.down(F.gelu(b.up(b.norm2(x)), approximate="tanh"))
        return F.linear(self.norm(x), self.tokens.weight), now

    def forward(self, ids):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        return self.logits(x, [None] * len(self.blocks))[0].flatten(0, 1)

    def decode(self, ids, position, past):
        """One more token (B,1): the likeliest next, and the keys and values of all."""
        y, now = self.logits(self.tokens(ids) + self.positions.weight[position], past)
        return y[:, -1].argmax(-1), now


def inference(model, shape, vocabulary=0, channels_last=False, compiled=False):
    """A forward pass over random images, or token ids."""
    model = model.eval()
    x = torch.randint(0, vocabulary, shape) if vocabulary else torch.randn(shape)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model)

    def step():
        with torch.inference_mode():
            return model(x)

    return step, None


def decoding(model, context, compiled=False):
    """One step of decoding with a cache of `context` tokens."""
    model = model.eval()
    heads = model.blocks[0].attention.heads
    depth = model.tokens.embedding_dim // heads
    past = [tuple(torch.randn(1, heads, context, depth) for _ in range(2)) for _ in model.blocks]
    token = torch.randint(0, model.tokens.num_embeddings, (1, 1))
    decode = torch.compile(model.decode) if compiled else model.decode

    def step():
        with torch.inference_mode():
            return decode(token, context, past)[0]

    return step, None
