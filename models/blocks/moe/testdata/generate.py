"""Writes nemotron_h_moe.f32: one expert block of transformers' NemotronH, forward and backward.

Run with transformers 5.23.0 and torch 2.11.0 on the CPU:
    python generate.py nemotron_h_moe.f32

The file is little-endian f32 without a header: the parameters in the order of the block's table with
the expert bias, the residual stream [10, 16], the gradient of the output, the output, the gradient of
the stream, and the gradients of the parameters in the same order without the bias.
"""

import sys

import torch
from transformers import NemotronHConfig
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHMoE, NemotronHRMSNorm


def main(path):
    torch.manual_seed(1)
    config = NemotronHConfig(
        hidden_size=16,
        n_routed_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        moe_shared_expert_intermediate_size=20,
        routed_scaling_factor=2.5,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        mlp_hidden_act="relu2",
    )
    norm, moe = NemotronHRMSNorm(16, eps=1e-5), NemotronHMoE(config).eval()
    parameters = [
        norm.weight,
        moe.gate.weight,
        moe.experts.up_proj,
        moe.experts.down_proj,
        moe.shared_experts.up_proj.weight,
        moe.shared_experts.down_proj.weight,
    ]
    bias = moe.gate.e_score_correction_bias
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(0.1, 0.4)
        bias.normal_(0, 0.1)
    hidden = torch.randn(10, 16, requires_grad=True)
    out = hidden + moe(norm(hidden)[None])[0]
    d_out = torch.randn_like(out)
    out.backward(d_out)
    tensors = [*parameters[:2], bias, *parameters[2:], hidden, d_out, out, hidden.grad]
    tensors += [parameter.grad for parameter in parameters]
    with open(path, "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().astype("<f4").tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
