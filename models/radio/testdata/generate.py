"""Writes radio_encoder.f32: a small RADIO encoder of transformers on packed images; and
radio_gated_encoder.f32: the same with gated networks, without a bias of queries, keys and values,
with scales of the channels.

Run on the CPU, for the first with transformers 5.23.0 and torch 2.11.0, for the second with 5.24.0
and 2.15.0:
    python generate.py radio_encoder.f32 radio_gated_encoder.f32

The upstream model ends before the last norm; LayerNorm and the 2 x 2 fold are torch here. Pixels
count as normalised already. The file is little-endian f32 without a header: parameters in the order
of the encoder's table, patches [N, F], gradient of the features [N / 4, 4 C], the features, and the
gradients of the parameters in the same order.
"""

import sys

import torch
from transformers import RadioConfig, RadioModel

HEADS, HEAD_DIM, LAYERS, CLASS_TOKENS, PATCH = 2, 8, 2, 3, 4
HIDDEN = HEADS * HEAD_DIM
GRIDS = [(4, 6), (6, 4), (2, 4)]


def interleave(q, k, v):
    """Rows q, k, v of one head after another."""
    parts = [x.reshape(HEADS, 1, HEAD_DIM, *x.shape[1:]) for x in (q, k, v)]
    return torch.cat(parts, 1).reshape(3 * HIDDEN, *q.shape[1:])


def fold(features):
    rows, begin = [], 0
    for r, c in GRIDS:
        image = features[begin : begin + r * c].view(r // 2, 2, c // 2, 2, HIDDEN)
        rows.append(image.transpose(1, 2).reshape(-1, 4 * HIDDEN))
        begin += r * c
    return torch.cat(rows)


def network(m, pick):
    """Weight and bias of the first layer, gates before what they gate, and of the second."""
    gated = hasattr(m, "gate_proj")
    first, second = ([m.gate_proj, m.up_proj], m.down_proj) if gated else ([m.fc1], m.fc2)
    return [
        torch.cat([pick(layer.weight) for layer in first]),
        torch.cat([pick(layer.bias) for layer in first]),
        pick(second.weight),
        pick(second.bias),
    ]


def in_table_order(model, norm, pick):
    embeddings = model.embeddings
    tensors = [
        pick(embeddings.cls_register_token),
        pick(embeddings.position_embedding),
        pick(embeddings.patch_projection.weight),
    ]
    for layer in model.encoder.layer:
        a, m = layer.attention, layer.mlp
        tensors += [
            pick(layer.norm1.weight),
            pick(layer.norm1.bias),
            interleave(pick(a.q_proj.weight), pick(a.k_proj.weight), pick(a.v_proj.weight)),
        ]
        if a.q_proj.bias is not None:
            biases = (pick(a.q_proj.bias), pick(a.k_proj.bias), pick(a.v_proj.bias))
            tensors.append(interleave(*biases))
        tensors += [
            pick(a.o_proj.weight),
            pick(a.o_proj.bias),
            pick(layer.norm2.weight),
            pick(layer.norm2.bias),
            *network(m, pick),
        ]
        if model.config.layerscale_value != 1:
            tensors += [pick(layer.layer_scale1.lambda1), pick(layer.layer_scale2.lambda1)]
    return tensors + [pick(norm.weight), pick(norm.bias)]


def write(path, **options):
    torch.manual_seed(1)
    config = RadioConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        mlp_ratio=2.0,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-6,
        patch_size=PATCH,
        patch_dim=3 * PATCH * PATCH,
        max_img_size=6 * PATCH,
        num_cls_tokens=1,
        num_registers=CLASS_TOKENS - 1,
        summary_idxs=[0],
        **options,
    )
    model = RadioModel(config).eval()
    model.make_preprocessor_external()
    norm = torch.nn.LayerNorm(HIDDEN, eps=1e-6)
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *norm.named_parameters()]:
            if "lambda1" not in name or config.layerscale_value != 1:
                parameter.normal_(0.1, 0.3)
    patches = torch.randn(sum(r * c for r, c in GRIDS), 3 * PATCH * PATCH)
    features = model(patches, image_grid_hw=torch.tensor(GRIDS)).features
    out = fold(norm(features))
    d_out = torch.randn_like(out)
    out.backward(d_out)
    tensors = in_table_order(model, norm, lambda p: p)
    tensors += [patches, d_out, out]
    tensors += in_table_order(model, norm, lambda p: p.grad)
    with open(path, "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().astype("<f4").tobytes())


if __name__ == "__main__":
    write(sys.argv[1])
    write(sys.argv[2], use_swiglu_ffn=True, qkv_bias=False, layerscale_value=0.5)
