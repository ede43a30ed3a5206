"""Writes nemotron_h_block.f32: one Mamba-2 block of transformers' NemotronH, forward and backward.

Run with transformers 5.23.0 and torch 2.11.0 on the CPU:
    python generate.py nemotron_h_block.f32

The file is little-endian f32 without a header: the parameters in the order of NAMES, the residual
stream [2, 11, 16], the gradient of the output, the output, the gradient of the stream, and the
gradients of the parameters in the same order.
"""

import sys

import torch
from transformers import NemotronHConfig
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHBlock

NAMES = [
    "norm.weight",
    "mixer.in_proj.weight",
    "mixer.conv1d.weight",
    "mixer.conv1d.bias",
    "mixer.dt_bias",
    "mixer.A_log",
    "mixer.D",
    "mixer.norm.weight",
    "mixer.out_proj.weight",
]


def main(path):
    torch.manual_seed(1)
    config = NemotronHConfig(
        hidden_size=16,
        mamba_num_heads=4,
        mamba_head_dim=4,
        n_groups=2,
        ssm_state_size=4,
        conv_kernel=4,
        chunk_size=4,
        use_conv_bias=True,
        use_bias=False,
        layer_norm_epsilon=1e-5,
        # The torch path clamps dt from below; kernels and Megatron-LM do not.
        time_step_min=1e-30,
        layers_block_type=["linear_attention"],
        num_hidden_layers=1,
    )
    block = NemotronHBlock(config, 0).eval().float()
    parameters = dict(block.named_parameters())
    assert sorted(parameters) == sorted(NAMES), sorted(parameters)
    with torch.no_grad():
        for name in NAMES:
            parameters[name].normal_(0.2, 0.5)
    hidden = torch.randn(2, 11, 16, requires_grad=True)
    d_out = torch.randn(2, 11, 16)
    out = block(hidden)
    out.backward(d_out)
    tensors = [parameters[name] for name in NAMES]
    tensors += [hidden, d_out, out, hidden.grad] + [parameters[name].grad for name in NAMES]
    with open(path, "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().astype("<f4").tobytes())


main(sys.argv[1])
