"""Writes programs.json, from PyTorch 2.13 on CPU: `python3 test/golden/programs.py`; torch and numpy.

The losses of the training programs of test/programs, under the same names: 20 in f64, 5 in f32. Data and first weights come from the
formula of test/programs/program.ts, in the same order.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F

torch.set_num_threads(1)


# ---- data and first weights: test/programs/program.ts


def bits(seed, count):
    """24 bits of a hash of (seed, i) for each i."""
    i = np.arange(1, count + 1, dtype=np.uint32)
    h = np.uint32(seed * 0x9E3779B1 & 0xFFFFFFFF) + i * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return ((h ^ (h >> np.uint32(16))) >> np.uint32(8)).astype(np.int64)


def reals(seed, shape, scale=1.0, mean=0.0):
    """Within `scale` of `mean`, rounded to f32; of the default dtype."""
    values = mean + scale * (bits(seed, math.prod(shape)) / 2**23 - 1)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape).to(torch.get_default_dtype())


def integers(seed, n, shape):
    return torch.from_numpy(bits(seed, math.prod(shape)) % n).reshape(shape)


def initialised(model, seed=1000):
    with torch.no_grad():
        for k, (name, p) in enumerate(model.named_parameters()):
            scale = 1 / math.sqrt(p.numel() / p.shape[0]) if p.ndim > 1 else 0.1
            p.copy_(reals(seed + k, p.shape, scale, 1 if p.ndim == 1 and name.endswith("weight") else 0))
    return model


def update(optimizer, loss, after=lambda: None):
    """The gradient step for one loss; `after` runs between gradients and update."""
    optimizer.zero_grad()
    loss.backward()
    after()
    optimizer.step()
    return loss


# ---- programs: each gives a function of the step's number to its losses


def mlp():
    model = initialised(nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 5)))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.001)

    def step(i):
        x, y = reals(i % 2, [16, 20]), integers(10 + i % 2, 5, [16])
        return [update(optimizer, F.cross_entropy(model(x), y))]

    return step


def cnn():
    def block(channels, out):
        return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]

    model = initialised(nn.Sequential(*block(1, 6), *block(6, 12), nn.Flatten(), nn.Linear(12 * 3 * 3, 10)))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def step(i):
        x, y = reals(i % 2, [8, 1, 12, 12]), integers(10 + i % 2, 10, [8])
        return [update(optimizer, F.cross_entropy(model(x), y))]

    return step


class BasicBlock(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet():
    width = 8
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(4):
        out = width * 2**stage
        layers += [BasicBlock(channels, out, 1 if stage == 0 else 2), BasicBlock(out, out, 1)]
        channels = out
    model = initialised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)))
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x, y = reals(0, [4, 3, 16, 16]), integers(10, 10, [4])
    return lambda i: [update(optimizer, F.cross_entropy(model(x), y))]


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attention(self, x):
        B, T, C = x.shape
        q, k, v = (y.reshape(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(C // self.heads)
        weights = scores.masked_fill(torch.ones(T, T).tril() == 0, -math.inf).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(B, T, C))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(17, 16), nn.Embedding(8, 16)
        self.blocks = nn.ModuleList([Block(16, 2) for _ in range(2)])
        self.norm = nn.LayerNorm(16)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def gpt():
    model = initialised(GPT())
    optimizer = optim.AdamW(model.parameters(), lr=0.003, betas=(0.9, 0.95), weight_decay=0.1)

    def step(i):
        ids = integers(i % 2, 17, [4, 9])
        return [update(optimizer, F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()))]

    return step


class LSTM(nn.Module):
    def __init__(self, inputs, size, outputs):
        super().__init__()
        self.size = size
        self.input = nn.Linear(inputs, 4 * size)
        self.hidden = nn.Linear(size, 4 * size, bias=False)
        self.out = nn.Linear(size, outputs)

    def forward(self, x):
        h = c = torch.zeros(len(x), self.size)
        for xt in x.unbind(1):
            i, f, g, o = (self.input(xt) + self.hidden(h)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.out(h)


def lstm():
    model = initialised(LSTM(5, 12, 3))
    optimizer = optim.RMSprop(model.parameters(), lr=0.005, momentum=0.5)

    def step(i):
        x, y = reals(i % 2, [8, 6, 5]), reals(10 + i % 2, [8, 3])
        return [update(optimizer, F.mse_loss(model(x), y), lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.25))]

    return step


class VAE(nn.Module):
    def __init__(self, inputs, hidden, latent):
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder, self.out = nn.Linear(latent, hidden), nn.Linear(hidden, inputs)

    def forward(self, x, noise):
        h = self.encoder(x).relu()
        mean, log_variance = self.mean(h), self.log_variance(h)
        return self.out(self.decoder(mean + (log_variance / 2).exp() * noise).relu()), mean, log_variance


def vae():
    model = initialised(VAE(24, 16, 4))
    optimizer = optim.Adam(model.parameters(), lr=0.003, weight_decay=0.01)

    def step(i):
        x, noise = reals(i % 2, [8, 24], 0.5, 0.5), reals(20 + i, [8, 4], 2)
        logits, mean, log_variance = model(x, noise)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        divergence = (mean**2 + log_variance.exp() - log_variance - 1).sum() / 2
        return [update(optimizer, (reconstruction + divergence) / 8)]

    return step


def generator_of():
    return initialised(nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.01), nn.Linear(16, 6)), 1000)


def gan():
    generator = generator_of()
    discriminator = initialised(nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.01), nn.Linear(16, 1)), 2000)
    generator_optimizer = optim.Adam(generator.parameters(), lr=0.01, betas=(0.5, 0.999))
    discriminator_optimizer = optim.Adam(discriminator.parameters(), lr=0.005, betas=(0.5, 0.999))

    def loss_as(logits, target):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def step(i):
        real, noise = reals(20 + i, [8, 6], 0.5, 1), reals(60 + i, [8, 4])
        fake = generator(noise)
        loss = loss_as(discriminator(real), 1) + loss_as(discriminator(fake.detach()), 0)
        update(discriminator_optimizer, loss)
        return [loss, update(generator_optimizer, loss_as(discriminator(fake), 1))]

    return step


def gradient_penalty():
    generator = generator_of()
    layers = [nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)]
    critic = initialised(nn.Sequential(*layers), 2000)
    generator_optimizer = optim.RMSprop(generator.parameters(), lr=0.001)
    critic_optimizer = optim.RMSprop(critic.parameters(), lr=0.002, centered=True)

    def step(i):
        real, noise, mix = reals(20 + i, [8, 6], 0.5, 1), reals(60 + i, [8, 4]), reals(100 + i, [8, 1], 0.5, 0.5)
        fake = generator(noise)
        between = (real * mix + fake.detach() * (1 - mix)).requires_grad_()
        [slope] = torch.autograd.grad(critic(between).sum(), [between], create_graph=True)
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        loss = 10 * penalty - (critic(real).mean() - critic(fake.detach()).mean())
        update(critic_optimizer, loss)
        return [loss, update(generator_optimizer, -critic(fake).mean())]

    return step


class Autoencoder(nn.Module):
    def __init__(self, inputs, hidden, code):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(inputs))
        self.encoder, self.inner = nn.Linear(inputs, hidden), nn.Linear(hidden, code)

    def forward(self, x):
        hidden = F.linear(self.inner(self.encoder(x).tanh()), self.inner.weight.T).tanh()
        return F.linear(hidden, self.encoder.weight.T, self.bias)


def autoencoder():
    model = initialised(Autoencoder(24, 12, 5))
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.8, dampening=0.2)

    def step(i):
        x = reals(i % 2, [16, 24])
        return [update(optimizer, F.mse_loss(model(x), x))]

    return step


class Mixture(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.router = nn.Linear(inputs, 2)
        self.first = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
        self.second = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))

    def forward(self, x):
        p, q = self.router(x.mean(0)).softmax(-1).unbind()
        return torch.where(p > q, self.first(x) * p, self.second(x) * q)


def mixture():
    model = initialised(Mixture(6, 16, 3))
    optimizer = optim.AdamW(model.parameters(), lr=0.01, amsgrad=True)

    def step(i):
        x, y = reals(i % 2, [12, 6], 1, 1 - 2 * (i % 2)), reals(10 + i % 2, [12, 3])
        return [update(optimizer, F.mse_loss(model(x), y))]

    return step


PROGRAMS = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "gpt": gpt,
    "lstm": lstm,
    "vae": vae,
    "gan": gan,
    "autoencoder": autoencoder,
    "gradientPenalty": gradient_penalty,
    "mixture": mixture,
}


def losses(program, dtype, count):
    torch.set_default_dtype(dtype)
    step, found, i = program(), [], 0
    while len(found) < count:
        found += [loss.item() for loss in step(i)]
        i += 1
    return found[:count]


if __name__ == "__main__":
    golden = {
        name: {"f64": losses(program, torch.float64, 20), "f32": losses(program, torch.float32, 5)}
        for name, program in PROGRAMS.items()
    }
    Path(__file__).with_name("programs.json").write_text(json.dumps(golden) + "\n")
