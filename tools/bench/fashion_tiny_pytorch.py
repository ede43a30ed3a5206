#!/usr/bin/env python3
"""The default run's model in PyTorch on the CPU, to compare speed and learning with.

Same images, captions, sizes, batch, optimizer and schedule as the recipe fashion_tiny, in fp32 and in
one process that takes the whole batch at once: fused attention, one state-space chunk a sequence,
experts on sorted rows. Prints "steps/s X", the median over windows of ten steps after ten to warm
up, and with --evaluate the caption accuracy on the test images.

    python3 -m venv VENV && VENV/bin/pip install torch==2.11.0 numpy
    VENV/bin/python tools/bench/fashion_tiny_pytorch.py --steps 60

The images are those of Debian's package dataset-fashion-mnist.
"""

import argparse
import gzip
import math
import os
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CANVASES = ((32, 32), (32, 48), (48, 32))  # height, width; sample i is shown on canvas i mod 3
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)

PATCH = 4
NUM_CLASS_TOKENS = 2
VISION_WIDTH = 64
WIDTH = 128
SEQUENCE = 48
VOCABULARY = 512
END_TOKEN = 256
IMAGE_TOKEN = 511
NO_LOSS = -100

PEAK_RATE = 3e-3
WARM_UP_STEPS = 30
BIAS_RATE = 1e-3


def read_split(folder, split):
    """Returns images uint8 [n, 28, 28] and labels int64 [n]."""
    with gzip.open(os.path.join(folder, f"{split}-images-idx3-ubyte.gz")) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(os.path.join(folder, f"{split}-labels-idx1-ubyte.gz")) as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return torch.tensor(images), torch.tensor(labels, dtype=torch.int64)


class Collator:
    """Turns samples into patches, ids and targets, grouped by canvas."""

    def __init__(self):
        captions = [list(name.encode()) + [END_TOKEN] for name in CLASSES]
        self.longest = max(map(len, captions))
        self.ids = torch.zeros(len(CLASSES), self.longest, dtype=torch.int64)
        self.targets = torch.full_like(self.ids, NO_LOSS)
        for row, caption in enumerate(captions):
            self.ids[row, : len(caption)] = self.targets[row, : len(caption)] = torch.tensor(caption)
        self.mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
        self.std = torch.tensor(PIXEL_STD).view(3, 1, 1)

    def patches(self, images, canvas):
        """[n, 28, 28] bytes -> [n, patches, 48], each channel by channel, on a black canvas."""
        height, width = canvas
        pixels = torch.zeros(len(images), 3, height, width)
        top, left = (height - 28) // 2, (width - 28) // 2
        pixels[:, :, top : top + 28, left : left + 28] = images[:, None] / 255.0
        return F.unfold((pixels - self.mean) / self.std, PATCH, stride=PATCH).transpose(1, 2)

    def __call__(self, images, labels, picked):
        """Returns [(canvas, patches)], ids [batch, SEQUENCE] and targets of the same shape."""
        groups = []
        ids = torch.zeros(len(picked), SEQUENCE, dtype=torch.int64)
        targets = torch.full_like(ids, NO_LOSS)
        first = 0
        for number, canvas in enumerate(CANVASES):
            members = picked[picked % len(CANVASES) == number]
            if len(members) == 0:
                continue
            groups.append((canvas, self.patches(images[members], canvas)))
            length = canvas[0] * canvas[1] // (2 * PATCH) ** 2
            rows = slice(first, first + len(members))
            of_class = labels[members]
            ids[rows, :length] = IMAGE_TOKEN
            ids[rows, length : length + self.longest] = self.ids[of_class]
            targets[rows, length - 1 : length - 1 + self.longest] = self.targets[of_class]
            first = rows.stop
        return groups, ids, targets


def normal(*shape, std):
    return nn.Parameter(torch.empty(*shape).normal_(std=std))


def ones(*shape):
    return nn.Parameter(torch.ones(*shape))


def unit_rms(x, eps=1e-5):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def squared_relu(x):
    return F.relu(x).square()


class VisionBlock(nn.Module):
    HEADS = 4

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(VISION_WIDTH, eps=1e-6)
        self.qkv = nn.Linear(VISION_WIDTH, 3 * VISION_WIDTH)
        self.proj = nn.Linear(VISION_WIDTH, VISION_WIDTH)
        self.norm2 = nn.LayerNorm(VISION_WIDTH, eps=1e-6)
        self.fc1 = nn.Linear(VISION_WIDTH, 128)
        self.fc2 = nn.Linear(128, VISION_WIDTH)

    def forward(self, x):
        batch, length, _ = x.shape
        query, key, value = self.qkv(self.norm1(x)).view(batch, length, 3, self.HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class VisionEncoder(nn.Module):
    """Patches of one canvas -> one WIDTH-vector for every two by two of them."""

    def __init__(self):
        super().__init__()
        self.embed = normal(VISION_WIDTH, 3 * PATCH * PATCH, std=0.1)
        self.class_tokens = normal(NUM_CLASS_TOKENS, VISION_WIDTH, std=1)
        self.positions = normal(1, VISION_WIDTH, 16, 16, std=0.125)
        self.blocks = nn.ModuleList(VisionBlock() for _ in range(2))
        self.norm = nn.LayerNorm(VISION_WIDTH, eps=1e-6)
        self.projector = nn.Linear(4 * VISION_WIDTH, WIDTH, bias=False)

    def forward(self, canvas, patches):
        rows, columns = canvas[0] // PATCH, canvas[1] // PATCH
        square = (max(rows, columns),) * 2
        positions = F.interpolate(self.positions, square, mode="bilinear", align_corners=False)
        positions = positions[0, :, :rows, :columns].flatten(1).t()
        batch = len(patches)
        x = torch.cat([self.class_tokens.expand(batch, -1, -1), F.linear(patches, self.embed) + positions], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)[:, NUM_CLASS_TOKENS:]
        x = x.reshape(batch, rows // 2, 2, columns // 2, 2, VISION_WIDTH).transpose(2, 3)
        return self.projector(x.reshape(-1, 4 * VISION_WIDTH))


class Mamba(nn.Module):
    HEADS, HEAD_DIM, GROUPS, STATE = 8, 32, 2, 16
    INNER = HEADS * HEAD_DIM
    SHARED = GROUPS * STATE

    def __init__(self):
        super().__init__()
        self.norm = ones(WIDTH)
        self.in_proj = normal(2 * self.INNER + 2 * self.SHARED + self.HEADS, WIDTH, std=0.05)
        channels = self.INNER + 2 * self.SHARED
        self.conv = nn.Conv1d(channels, channels, kernel_size=4, padding=3, groups=channels)
        step = torch.exp(math.log(1e-3) + math.log(100) * torch.rand(self.HEADS))
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.log_rate = nn.Parameter(torch.log(1 + 15 * torch.rand(self.HEADS)))
        self.skip = ones(self.HEADS)
        self.gate_norm = ones(self.INNER)
        self.out_proj = normal(WIDTH, self.INNER, std=0.02)
        above = torch.ones(SEQUENCE, SEQUENCE, dtype=torch.bool).triu(1)
        self.register_buffer("future", above, persistent=False)

    def forward(self, hidden):
        batch, length, _ = hidden.shape
        projected = F.linear(unit_rms(hidden) * self.norm, self.in_proj)
        gate, mixed, step = projected.split([self.INNER, self.INNER + 2 * self.SHARED, self.HEADS], dim=-1)
        mixed = F.silu(self.conv(mixed.transpose(1, 2))[..., :length]).transpose(1, 2)
        x, b, c = mixed.split([self.INNER, self.SHARED, self.SHARED], dim=-1)
        x = x.reshape(batch, length, self.HEADS, self.HEAD_DIM).transpose(1, 2)
        b = b.reshape(batch, length, self.GROUPS, self.STATE).transpose(1, 2)
        c = c.reshape(batch, length, self.GROUPS, self.STATE).transpose(1, 2)

        # y_t = sum over s <= t of (c_t . b_s) exp(sum of step * rate over (s, t]) step_s x_s
        step = F.softplus(step + self.step_bias).transpose(1, 2)
        log_decay = torch.cumsum(-step * self.log_rate.exp()[:, None], dim=-1)
        between = log_decay[..., :, None] - log_decay[..., None, :]
        decay = between.masked_fill(self.future, -math.inf).exp()
        similarity = (c @ b.transpose(-1, -2)).repeat_interleave(self.HEADS // self.GROUPS, dim=1)
        y = (similarity * decay * step[..., None, :]) @ x + self.skip[:, None, None] * x

        y = y.transpose(1, 2).reshape(batch, length, self.INNER) * F.silu(gate)
        y = unit_rms(y.view(batch, length, self.GROUPS, -1)).flatten(2) * self.gate_norm
        return hidden + F.linear(y, self.out_proj)


class Attention(nn.Module):
    HEADS, KEY_HEADS, HEAD_DIM = 4, 2, 32

    def __init__(self):
        super().__init__()
        self.norm = ones(WIDTH)
        self.qkv = normal((self.HEADS + 2 * self.KEY_HEADS) * self.HEAD_DIM, WIDTH, std=0.05)
        self.out = normal(WIDTH, self.HEADS * self.HEAD_DIM, std=0.02)

    def forward(self, hidden):
        batch, length, _ = hidden.shape
        heads = F.linear(unit_rms(hidden) * self.norm, self.qkv).view(batch, length, -1, self.HEAD_DIM).transpose(1, 2)
        query, key, value = heads.split([self.HEADS, self.KEY_HEADS, self.KEY_HEADS], dim=1)
        repeats = self.HEADS // self.KEY_HEADS
        mixed = F.scaled_dot_product_attention(
            query, key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1), is_causal=True
        )
        return hidden + F.linear(mixed.transpose(1, 2).reshape(batch, length, -1), self.out)


class Experts(nn.Module):
    """Two of eight squared-ReLU experts a token, chosen by biased sigmoid scores, and a shared one."""

    COUNT, CHOSEN, INNER, SHARED_INNER = 8, 2, 96, 128
    SCALE, BALANCE = 2.5, 1e-2

    def __init__(self):
        super().__init__()
        self.norm = ones(WIDTH)
        self.router = normal(self.COUNT, WIDTH, std=0.05)
        self.up = normal(self.COUNT, self.INNER, WIDTH, std=0.05)
        self.down = normal(self.COUNT, WIDTH, self.INNER, std=0.02)
        self.shared_up = normal(self.SHARED_INNER, WIDTH, std=0.05)
        self.shared_down = normal(WIDTH, self.SHARED_INNER, std=0.02)
        self.register_buffer("bias", torch.zeros(self.COUNT))
        self.register_buffer("load", torch.zeros(self.COUNT))
        self.balance_loss = None  # of the last forward, summed over tokens

    def forward(self, hidden):
        batch, length, _ = hidden.shape
        tokens = (unit_rms(hidden) * self.norm).view(-1, WIDTH)
        scores = torch.sigmoid(F.linear(tokens, self.router))
        chosen = torch.topk(scores + self.bias, self.CHOSEN).indices
        weights = scores.gather(1, chosen)
        weights = self.SCALE * weights / (weights.sum(-1, keepdim=True) + 1e-20)
        self.balance_loss = self.balance(scores, batch, length)

        flat = chosen.flatten()
        order = torch.argsort(flat, stable=True)
        load = torch.bincount(flat, minlength=self.COUNT)
        self.load += load
        sizes = load.tolist()
        source = order // self.CHOSEN
        inputs = tokens[source].split(sizes)
        gates = weights.flatten()[order][:, None].split(sizes)
        outputs = [
            F.linear(squared_relu(F.linear(rows, self.up[e])) * gate, self.down[e])
            for e, (rows, gate) in enumerate(zip(inputs, gates))
        ]
        routed = torch.zeros_like(tokens).index_add(0, source, torch.cat(outputs))
        shared = F.linear(squared_relu(F.linear(tokens, self.shared_up)), self.shared_down)
        return hidden + (routed + shared).view_as(hidden)

    def balance(self, scores, batch, length):
        """Sequence-wise balance: tokens that prefer an expert times its mean share, per sequence."""
        share = scores / (scores.sum(-1, keepdim=True) + 1e-20)
        prefers = torch.zeros_like(share).scatter(1, torch.topk(share, self.CHOSEN).indices, 1)
        product = prefers.view(batch, length, -1).sum(1) * share.view(batch, length, -1).sum(1)
        return product.sum() * (self.BALANCE * self.COUNT / (self.CHOSEN * length))

    @torch.no_grad()
    def adjust_bias(self):
        self.bias += BIAS_RATE * torch.sign(self.load.mean() - self.load)
        self.load.zero_()


class VisionLanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = VisionEncoder()
        self.embedding = normal(VOCABULARY, WIDTH, std=0.05)
        self.layers = nn.ModuleList([Mamba(), Experts(), Mamba(), Attention(), Experts()])
        self.norm = ones(WIDTH)
        self.head = normal(VOCABULARY, WIDTH, std=0.05)

    def forward(self, groups, ids):
        features = torch.cat([self.encoder(canvas, patches) for canvas, patches in groups])
        hidden = F.embedding(ids.clamp(max=IMAGE_TOKEN - 1), self.embedding)
        hidden = hidden.masked_scatter((ids == IMAGE_TOKEN)[..., None], features)
        for layer in self.layers:
            hidden = layer(hidden)
        return F.linear(unit_rms(hidden) * self.norm, self.head)


def rate_at(step, steps):
    if step < WARM_UP_STEPS:
        return PEAK_RATE * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return PEAK_RATE * (1 + math.cos(math.pi * progress)) / 2


def train(args):
    model = VisionLanguageModel()
    forward = torch.compile(model, dynamic=True) if args.compile else model
    experts = [layer for layer in model.layers if isinstance(layer, Experts)]
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=PEAK_RATE,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {sum(p.numel() for p in parameters)} parameters")

    images, labels = read_split(args.data, "train")
    collate = Collator()
    shuffled = torch.randperm(len(images))
    order = shuffled.repeat(1 + args.steps * args.batch_size // len(images))
    seconds = []
    for step in range(args.steps):
        begin = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, args.steps)
        groups, ids, targets = collate(images, labels, order[step * args.batch_size : (step + 1) * args.batch_size])
        logits = forward(groups, ids)
        num_tokens = (targets != NO_LOSS).sum()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_LOSS, reduction="sum")
        optimizer.zero_grad(set_to_none=True)
        ((loss + sum(layer.balance_loss for layer in experts)) / num_tokens).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for layer in experts:
            layer.adjust_bias()
        seconds.append(time.perf_counter() - begin)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} lm loss {loss.item() / num_tokens.item():.4f}", flush=True)

    windows = [sum(seconds[i : i + 10]) / 10 for i in range(10, args.steps - 9, 10)]
    median = statistics.median(windows)
    print(
        f"steps/s {1 / median:.3f} samples/s {args.batch_size / median:.1f}"
        f" step ms {1e3 * min(windows):.1f}..{1e3 * max(windows):.1f} train_seconds {sum(seconds):.1f}"
    )
    return model, collate


@torch.no_grad()
def evaluate(args, model, collate):
    images, labels = read_split(args.data, "t10k")
    exact = 0
    for picked in torch.arange(len(images)).split(250):
        groups, ids, targets = collate(images, labels, picked)
        right = (model(groups, ids).argmax(-1) == targets) | (targets == NO_LOSS)
        exact += right.all(-1).sum().item()
    print(f"caption accuracy {exact / len(images):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="at least 20")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of the four IDX files")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--evaluate", action="store_true", help="caption accuracy on the 10,000 test images")
    args = parser.parse_args()
    if args.steps < 20:
        parser.error(f"--steps {args.steps}: a speed needs at least 20, the first ten warm up")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model, collate = train(args)
    if args.evaluate:
        evaluate(args, model, collate)


if __name__ == "__main__":
    main()
