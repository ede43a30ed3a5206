"""Writes whisper_encoder.f32: a small Whisper encoder of transformers on two clips.

Run with transformers 5.24.0 and torch 2.11.0 on the CPU:
    python generate.py whisper_encoder.f32

The upstream model takes clips of one length, twice max_source_positions: every clip runs alone, in
a model of its length that shares the parameters. Its table of sinusoids is made by the model
itself. The file is little-endian f32 without a header: parameters in the order of the encoder's
table, frames [N, mels], gradient of the features [S, C], the features, and the gradients of the
parameters in the same order. Upstream keys have no bias: zeros, whose gradient is zero as well,
because a softmax does not see what is added to all of its terms.
"""

import sys

import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

HEADS, HEAD_DIM, LAYERS, MELS = 2, 8, 2, 5
HIDDEN = HEADS * HEAD_DIM
CLIPS = [12, 6]


def interleave(q, k, v):
    """Rows q, k, v of one head after another."""
    parts = [x.reshape(HEADS, 1, HEAD_DIM, *x.shape[1:]) for x in (q, k, v)]
    return torch.cat(parts, 1).reshape(3 * HIDDEN, *q.shape[1:])


def tap_after_tap(weight):
    """From [outputs, channels, taps] to [outputs, taps x channels]."""
    return weight.transpose(1, 2).reshape(weight.shape[0], -1)


def in_table_order(model, pick):
    tensors = []
    for conv in (model.conv1, model.conv2):
        tensors += [tap_after_tap(pick(conv.weight)), pick(conv.bias)]
    for layer in model.layers:
        a, no_bias = layer.self_attn, torch.zeros(HIDDEN)
        tensors += [
            pick(layer.self_attn_layer_norm.weight),
            pick(layer.self_attn_layer_norm.bias),
            interleave(pick(a.q_proj.weight), pick(a.k_proj.weight), pick(a.v_proj.weight)),
            interleave(pick(a.q_proj.bias), no_bias, pick(a.v_proj.bias)),
            pick(a.out_proj.weight),
            pick(a.out_proj.bias),
            pick(layer.final_layer_norm.weight),
            pick(layer.final_layer_norm.bias),
            pick(layer.fc1.weight),
            pick(layer.fc1.bias),
            pick(layer.fc2.weight),
            pick(layer.fc2.bias),
        ]
    return tensors + [pick(model.layer_norm.weight), pick(model.layer_norm.bias)]


def encoder(frames):
    return WhisperEncoder(
        WhisperConfig(
            d_model=HIDDEN,
            encoder_layers=LAYERS,
            encoder_attention_heads=HEADS,
            encoder_ffn_dim=2 * HIDDEN,
            num_mel_bins=MELS,
            max_source_positions=frames // 2,
        )
    ).eval()


def main(path):
    torch.manual_seed(1)
    model = encoder(CLIPS[0])
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.normal_(0.1, 0.3)
    frames = torch.randn(sum(CLIPS), MELS)
    features, begin = [], 0
    for length in CLIPS:
        clip = frames[begin : begin + length].T[None]
        own = encoder(length)
        out = torch.func.functional_call(own, trained, (clip,)).last_hidden_state
        features.append(out[0])
        begin += length
    out = torch.cat(features)
    d_out = torch.randn_like(out)
    out.backward(d_out)
    tensors = in_table_order(model, lambda p: p)
    tensors += [frames, d_out, out]
    tensors += in_table_order(model, lambda p: p.grad)
    with open(path, "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().astype("<f4").tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
