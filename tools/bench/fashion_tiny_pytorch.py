#!/usr/bin/env python3
"""The default run in PyTorch on the CPU, to compare speed and learning with.

The same run as the recipe fashion_tiny: initial parameters, samples of every step and learning rates
come from a file that our side writes; images, captions, batch and optimizer are the recipe's. In fp32
and in one process that takes the whole batch at once: fused attention, one state-space chunk a
sequence, experts on sorted rows. Prints "steps/s X", the median over windows of ten steps after ten
to warm up, and with --evaluate the caption accuracy on the test images.

    bazel run //tools/bench:run_start -- --output=/tmp/start.safetensors
    python3 -m venv VENV && VENV/bin/pip install torch==2.11.0 numpy safetensors
    VENV/bin/python tools/bench/fashion_tiny_pytorch.py --start /tmp/start.safetensors --steps 60

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
from safetensors.torch import load_file
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
        self.lengths = torch.tensor([len(caption) for caption in captions])
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
        """Returns [(canvas, patches)], ids [batch, SEQUENCE], targets, and what is no padding."""
        groups = []
        lengths = torch.zeros(len(picked), 1, dtype=torch.int64)
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
            lengths[rows, 0] = length + self.lengths[of_class]
            first = rows.stop
        return groups, ids, targets, torch.arange(SEQUENCE) < lengths


def parameter(*shape):
    return nn.Parameter(torch.empty(*shape))


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
        heads = self.qkv(self.norm1(x)).view(batch, length, self.HEADS, 3, -1)
        query, key, value = heads.permute(3, 0, 2, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class VisionEncoder(nn.Module):
    """Patches of one canvas -> one WIDTH-vector for every two by two of them."""

    def __init__(self):
        super().__init__()
        self.embed = parameter(VISION_WIDTH, 3 * PATCH * PATCH)
        self.class_tokens = parameter(NUM_CLASS_TOKENS, VISION_WIDTH)
        self.positions = parameter(1, 16 * 16, VISION_WIDTH)
        self.blocks = nn.ModuleList(VisionBlock() for _ in range(2))
        self.norm = nn.LayerNorm(VISION_WIDTH, eps=1e-6)
        self.projector = nn.Linear(4 * VISION_WIDTH, WIDTH, bias=False)

    def forward(self, canvas, patches):
        rows, columns = canvas[0] // PATCH, canvas[1] // PATCH
        square = (max(rows, columns),) * 2
        table = self.positions.view(1, 16, 16, VISION_WIDTH).permute(0, 3, 1, 2)
        positions = F.interpolate(table, square, mode="bilinear", align_corners=False)
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
        self.norm = parameter(WIDTH)
        self.in_proj = parameter(2 * self.INNER + 2 * self.SHARED + self.HEADS, WIDTH)
        channels = self.INNER + 2 * self.SHARED
        self.conv = nn.Conv1d(channels, channels, kernel_size=4, padding=3, groups=channels)
        self.step_bias = parameter(self.HEADS)
        self.log_rate = parameter(self.HEADS)
        self.skip = parameter(self.HEADS)
        self.gate_norm = parameter(self.INNER)
        self.out_proj = parameter(WIDTH, self.INNER)
        above = torch.ones(SEQUENCE, SEQUENCE, dtype=torch.bool).triu(1)
        self.register_buffer("future", above, persistent=False)

    def forward(self, hidden, kept):
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
        self.norm = parameter(WIDTH)
        self.qkv = parameter((self.HEADS + 2 * self.KEY_HEADS) * self.HEAD_DIM, WIDTH)
        self.out = parameter(WIDTH, self.HEADS * self.HEAD_DIM)

    def forward(self, hidden, kept):
        batch, length, _ = hidden.shape
        repeats = self.HEADS // self.KEY_HEADS
        groups = F.linear(unit_rms(hidden) * self.norm, self.qkv)
        groups = groups.view(batch, length, self.KEY_HEADS, repeats + 2, self.HEAD_DIM)
        query, key, value = (part.flatten(2, 3).transpose(1, 2) for part in groups.split([repeats, 1, 1], dim=3))
        mixed = F.scaled_dot_product_attention(
            query, key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1), is_causal=True
        )
        return hidden + F.linear(mixed.transpose(1, 2).reshape(batch, length, -1), self.out)


class Experts(nn.Module):
    """Two of eight squared-ReLU experts a token, chosen by biased sigmoid scores, and a shared one.

    Padding chooses none and is counted nowhere.
    """

    COUNT, CHOSEN, INNER, SHARED_INNER = 8, 2, 96, 128
    SCALE, BALANCE = 2.5, 1e-2

    def __init__(self):
        super().__init__()
        self.norm = parameter(WIDTH)
        self.router = parameter(self.COUNT, WIDTH)
        self.up = parameter(self.COUNT, self.INNER, WIDTH)
        self.down = parameter(self.COUNT, WIDTH, self.INNER)
        self.shared_up = parameter(self.SHARED_INNER, WIDTH)
        self.shared_down = parameter(WIDTH, self.SHARED_INNER)
        self.register_buffer("bias", torch.zeros(self.COUNT))
        self.register_buffer("load", torch.zeros(self.COUNT), persistent=False)
        self.balance_loss = None  # of the last forward, summed over tokens

    def forward(self, hidden, kept):
        normed = (unit_rms(hidden) * self.norm).view(-1, WIDTH)
        place = kept.flatten().nonzero()[:, 0]
        tokens = normed[place]
        scores = torch.sigmoid(F.linear(tokens, self.router))
        chosen = torch.topk(scores + self.bias, self.CHOSEN).indices
        weights = scores.gather(1, chosen)
        weights = self.SCALE * weights / (weights.sum(-1, keepdim=True) + 1e-20)
        self.balance_loss = self.balance(scores, kept)

        flat = chosen.flatten()
        order = torch.argsort(flat, stable=True)
        load = torch.bincount(flat, minlength=self.COUNT)
        self.load += load
        sizes = load.tolist()
        source = place[order // self.CHOSEN]
        inputs = normed[source].split(sizes)
        gates = weights.flatten()[order][:, None].split(sizes)
        outputs = [
            F.linear(squared_relu(F.linear(rows, self.up[e])) * gate, self.down[e])
            for e, (rows, gate) in enumerate(zip(inputs, gates))
        ]
        routed = torch.zeros_like(normed).index_add(0, source, torch.cat(outputs))
        shared = F.linear(squared_relu(F.linear(normed, self.shared_up)), self.shared_down)
        return hidden + (routed + shared).view_as(hidden)

    def balance(self, scores, kept):
        """Sequence-wise balance: tokens that prefer an expert times its mean share, per sequence."""
        share = scores / (scores.sum(-1, keepdim=True) + 1e-20)
        prefers = torch.zeros_like(share).scatter(1, torch.topk(share, self.CHOSEN).indices, 1)
        sequence = kept.nonzero()[:, 0]
        zeros = share.new_zeros(len(kept), self.COUNT)
        product = zeros.index_add(0, sequence, prefers) * zeros.index_add(0, sequence, share)
        per_sequence = product.sum(1) / kept.sum(1)
        return per_sequence.sum() * (self.BALANCE * self.COUNT / self.CHOSEN)

    @torch.no_grad()
    def adjust_bias(self):
        self.bias += BIAS_RATE * torch.sign(self.load.mean() - self.load)
        self.load.zero_()


class VisionLanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = VisionEncoder()
        self.embedding = parameter(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([Mamba(), Experts(), Mamba(), Attention(), Experts()])
        self.norm = parameter(WIDTH)
        self.head = parameter(VOCABULARY, WIDTH)

    def forward(self, groups, ids, kept):
        features = torch.cat([self.encoder(canvas, patches) for canvas, patches in groups])
        hidden = F.embedding(ids.clamp(max=IMAGE_TOKEN - 1), self.embedding)
        hidden = hidden.masked_scatter((ids == IMAGE_TOKEN)[..., None], features)
        for layer in self.layers:
            hidden = layer(hidden, kept)
        return F.linear(unit_rms(hidden) * self.norm, self.head)


# Our names of the parameters of each kind of part, below the part's own name.
VISION_BLOCK = {
    "norm1.weight": "self_attention.linear_qkv.layer_norm_weight",
    "norm1.bias": "self_attention.linear_qkv.layer_norm_bias",
    "qkv.weight": "self_attention.linear_qkv.weight",
    "qkv.bias": "self_attention.linear_qkv.bias",
    "proj.weight": "self_attention.linear_proj.weight",
    "proj.bias": "self_attention.linear_proj.bias",
    "norm2.weight": "mlp.linear_fc1.layer_norm_weight",
    "norm2.bias": "mlp.linear_fc1.layer_norm_bias",
    "fc1.weight": "mlp.linear_fc1.weight",
    "fc1.bias": "mlp.linear_fc1.bias",
    "fc2.weight": "mlp.linear_fc2.weight",
    "fc2.bias": "mlp.linear_fc2.bias",
}
MAMBA = {
    "norm": "mixer.in_proj.layer_norm_weight",
    "in_proj": "mixer.in_proj.weight",
    "conv.weight": "mixer.conv1d.weight",
    "conv.bias": "mixer.conv1d.bias",
    "step_bias": "mixer.dt_bias",
    "log_rate": "mixer.A_log",
    "skip": "mixer.D",
    "gate_norm": "mixer.norm.weight",
    "out_proj": "mixer.out_proj.weight",
}
ATTENTION = {
    "norm": "self_attention.linear_qkv.layer_norm_weight",
    "qkv": "self_attention.linear_qkv.weight",
    "out": "self_attention.linear_proj.weight",
}
EXPERTS = {
    "norm": "pre_mlp_layernorm.weight",
    "router": "mlp.router.weight",
    "bias": "mlp.router.expert_bias",
    "up": "mlp.experts.linear_fc1.weight",
    "down": "mlp.experts.linear_fc2.weight",
    "shared_up": "mlp.shared_experts.linear_fc1.weight",
    "shared_down": "mlp.shared_experts.linear_fc2.weight",
}
TOP = {
    "encoder.embed": "radio_encoder/encoder.embedder.weight",
    "encoder.class_tokens": "radio_encoder/encoder.class_token",
    "encoder.positions": "radio_encoder/encoder.position_embeddings",
    "encoder.norm.weight": "radio_encoder/encoder.decoder.final_layernorm.weight",
    "encoder.norm.bias": "radio_encoder/encoder.decoder.final_layernorm.bias",
    "encoder.projector.weight": "radio_encoder/projector.encoder.weight",
    "embedding": "language/embedding.word_embeddings.weight",
    "norm": "language/decoder.final_norm.weight",
    "head": "language/output_layer.weight",
}


def our_names(model):
    """Returns {name of a parameter or buffer here: its name in the file of our side}."""
    names = dict(TOP)
    for i in range(len(model.encoder.blocks)):
        prefix = f"radio_encoder/encoder.decoder.layers.{i}."
        names.update({f"encoder.blocks.{i}.{here}": prefix + there for here, there in VISION_BLOCK.items()})
    kinds = {Mamba: MAMBA, Attention: ATTENTION, Experts: EXPERTS}
    for i, layer in enumerate(model.layers):
        prefix = f"language/decoder.layers.{i}."
        names.update({f"layers.{i}.{here}": prefix + there for here, there in kinds[type(layer)].items()})
    return names


@torch.no_grad()
def load(model, start):
    """Fills all parameters; exits unless both sides have the same, of the same shapes."""
    names = our_names(model)
    here = {name: value for name, value in [*model.named_parameters(), *model.named_buffers()] if name in names}
    here.update((name, value) for name, value in model.named_parameters())
    unknown = here.keys() - names.keys()
    left = start.keys() - set(names.values()) - {"learning_rates", "samples"}
    if unknown or left:
        raise SystemExit(f"parameters without a counterpart: here {sorted(unknown)}, in the file {sorted(left)}")
    for name, value in here.items():
        tensor = start[names[name]]
        if tensor.shape != value.shape:
            raise SystemExit(f"{name} is {tuple(value.shape)}, {names[name]} {tuple(tensor.shape)}")
        value.copy_(tensor)


def train(args):
    model = VisionLanguageModel()
    start = load_file(args.start)
    load(model, start)
    rates, samples = start["learning_rates"].tolist(), start["samples"]
    if args.steps > len(rates):
        raise SystemExit(f"--steps {args.steps}: {args.start} has {len(rates)}")
    batch_size = samples.shape[1]
    forward = torch.compile(model, dynamic=True) if args.compile else model
    experts = [layer for layer in model.layers if isinstance(layer, Experts)]
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {sum(p.numel() for p in parameters)} parameters")

    images, labels = read_split(args.data, "train")
    collate = Collator()
    seconds = []
    for step in range(args.steps):
        begin = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        groups, ids, targets, kept = collate(images, labels, samples[step])
        logits = forward(groups, ids, kept)
        num_tokens = (targets != NO_LOSS).sum()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_LOSS, reduction="sum")
        optimizer.zero_grad(set_to_none=True)
        ((loss + sum(layer.balance_loss for layer in experts)) / num_tokens).backward()
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for layer in experts:
            layer.adjust_bias()
        seconds.append(time.perf_counter() - begin)
        if step < 20 or (step + 1) % 50 == 0:
            print(f"step {step + 1} lm loss {loss.item() / num_tokens.item():.6f} grad norm {norm:.4f}", flush=True)

    windows = [sum(seconds[i : i + 10]) / 10 for i in range(10, args.steps - 9, 10)]
    median = statistics.median(windows)
    print(
        f"steps/s {1 / median:.3f} samples/s {batch_size / median:.1f}"
        f" step ms {1e3 * min(windows):.1f}..{1e3 * max(windows):.1f} train_seconds {sum(seconds):.1f}"
    )
    return model, collate


@torch.no_grad()
def evaluate(args, model, collate):
    images, labels = read_split(args.data, "t10k")
    exact = 0
    for picked in torch.arange(len(images)).split(250):
        groups, ids, targets, kept = collate(images, labels, picked)
        right = (model(groups, ids, kept).argmax(-1) == targets) | (targets == NO_LOSS)
        exact += right.all(-1).sum().item()
    print(f"caption accuracy {exact / len(images):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", required=True, metavar="FILE", help="written by //tools/bench:run_start")
    parser.add_argument("--steps", type=int, default=60, help="at least 20")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of the four IDX files")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--evaluate", action="store_true", help="caption accuracy on the 10,000 test images")
    args = parser.parse_args()
    if args.steps < 20:
        parser.error(f"--steps {args.steps}: a speed needs at least 20, the first ten warm up")
    torch.set_num_threads(args.threads)
    model, collate = train(args)
    if args.evaluate:
        evaluate(args, model, collate)


if __name__ == "__main__":
    main()
