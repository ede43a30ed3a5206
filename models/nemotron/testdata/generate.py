"""Writes nemotron_h_lm.f32: a small NemotronH language model of transformers, loss and gradients;
and nemotron_h_tied_lm.f32: the same with one table for both ends, biases in the projections of Mamba
and none in its convolution of three taps, steps of 0.5 at least, and experts of two in four groups
whose scores are as they are.

Run on the CPU, for the first with transformers 5.23.0 and torch 2.11.0, for the second with 5.24.0
and 2.15.0:
    python generate.py nemotron_h_lm.f32 nemotron_h_tied_lm.f32

The file is little-endian f32 without a header: the parameters in the order of the model's table with
the expert biases, ids [2, 11], targets [2, 11] of which -1 does not count, the residual stream
[22, 32] before the fourth layer, the loss of every token that counts, and the gradients of the sum of
these losses in the order of the parameters without the biases.
"""

import sys

import torch
from transformers import NemotronHConfig, NemotronHForCausalLM

ROWS, LENGTH, HIDDEN, VOCABULARY = 2, 11, 32, 131
HEADS, GROUPS, HEAD_DIM = 4, 2, 8
LAYERS = ["linear_attention", "moe", "linear_attention", "full_attention", "moe", "mlp"]  # MEM*E-
SPLIT = 3  # the layer whose input is written


def fused_qkv(q, k, v):
    """Rows by KV group: the queries of its heads, its key, its value."""
    parts = [x.view(GROUPS, -1, HIDDEN) for x in (q, k, v)]
    return torch.cat(parts, 1).reshape(-1, HIDDEN)


def weight_and_bias(m, pick):
    return [pick(m.weight)] if m.bias is None else [pick(m.weight), pick(m.bias)]


def mixer_tensors(kind, m, pick):
    if kind == "linear_attention":
        return [
            *weight_and_bias(m.in_proj, pick),
            *weight_and_bias(m.conv1d, pick),
            pick(m.dt_bias),
            pick(m.A_log),
            pick(m.D),
            pick(m.norm.weight),
            *weight_and_bias(m.out_proj, pick),
        ]
    if kind == "full_attention":
        qkv = fused_qkv(pick(m.q_proj.weight), pick(m.k_proj.weight), pick(m.v_proj.weight))
        return [qkv, pick(m.o_proj.weight)]
    if kind == "moe":
        return [
            pick(m.gate.weight),
            pick(m.gate.e_score_correction_bias),
            pick(m.experts.up_proj),
            pick(m.experts.down_proj),
            pick(m.shared_experts.up_proj.weight),
            pick(m.shared_experts.down_proj.weight),
        ]
    return [pick(m.up_proj.weight), pick(m.down_proj.weight)]


def in_table_order(lm, pick):
    tensors = [pick(lm.model.embeddings.weight)]
    for kind, layer in zip(LAYERS, lm.model.layers):
        tensors += [pick(layer.norm.weight), *mixer_tensors(kind, layer.mixer, pick)]
    tensors.append(pick(lm.model.norm_f.weight))
    return tensors if lm.config.tie_word_embeddings else [*tensors, pick(lm.lm_head.weight)]


def write(path, **options):
    torch.manual_seed(1)
    settings = dict(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        layers_block_type=LAYERS,
        num_hidden_layers=len(LAYERS),
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        head_dim=HEAD_DIM,
        mamba_num_heads=4,
        mamba_head_dim=8,
        n_groups=2,
        ssm_state_size=8,
        conv_kernel=4,
        chunk_size=4,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        moe_shared_expert_intermediate_size=32,
        routed_scaling_factor=2.5,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        intermediate_size=48,
        mlp_hidden_act="relu2",
        layer_norm_epsilon=1e-5,
        # The torch path clamps dt from below; kernels and Megatron-LM do not.
        time_step_min=1e-30,
        tie_word_embeddings=False,
        use_cache=False,
    )
    config = NemotronHConfig(**(settings | options))
    lm = NemotronHForCausalLM(config).float().eval()
    if config.tie_word_embeddings:  # which the class leaves to its weights
        lm.lm_head.weight = lm.model.embeddings.weight
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.normal_(0.05, 0.3)
        for kind, layer in zip(LAYERS, lm.model.layers):
            if kind == "moe":
                layer.mixer.gate.e_score_correction_bias.normal_(0, 0.1)
    ids = torch.randint(VOCABULARY, (ROWS, LENGTH))
    targets = torch.cat([ids[:, 1:], torch.full((ROWS, 1), -1)], 1)
    targets[0, :4] = -1
    out = lm(ids, output_hidden_states=True)
    counted = targets >= 0
    loss = torch.nn.functional.cross_entropy(
        out.logits[counted], targets[counted], reduction="none"
    )
    loss.sum().backward()
    tensors = in_table_order(lm, lambda p: p)
    gradients = [g for g in in_table_order(lm, lambda p: p.grad) if g is not None]
    assert sum(g.numel() for g in gradients) == sum(p.numel() for p in lm.parameters())
    tensors += [ids, targets, out.hidden_states[SPLIT], loss, *gradients]
    with open(path, "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().astype("<f4").tobytes())


if __name__ == "__main__":
    write(sys.argv[1])
    write(
        sys.argv[2],
        tie_word_embeddings=True,
        use_bias=True,
        use_conv_bias=False,
        conv_kernel=3,
        time_step_min=0.5,
        n_routed_experts=8,
        n_group=4,
        topk_group=2,
        norm_topk_prob=False,
    )
