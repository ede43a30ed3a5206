"""Writes a small model of transformers, what goes into it, and what comes out.

Run with transformers 5.24.0 and safetensors 0.8.0 on the CPU, nemotron_h with torch 2.15.0, the others
with torch 2.11.0:
    python generate.py nemotron_h FOLDER
    python generate.py nemotron_h_tied FOLDER
    python generate.py radio FOLDER

FOLDER/model gets the model as transformers saves it, in several files for nemotron_h, FOLDER the
files inputs.safetensors and expected.safetensors, with the names that //tools:probe reads and writes:
of nemotron_h input_ids and targets, layer.N, logits and the mean loss; of radio image.N, d_features,
layer.N, features and the sum of their products with d_features; of both gradient.NAME of every
parameter by its name in the model's files. All layers but a radio's last are there.

    python generate.py check FOLDER/model OTHER

loads both with transformers, which must not miss or leave a tensor, and compares every parameter and
buffer bit by bit.
"""

import os
import sys
import tempfile

import safetensors.torch
import torch
from transformers import (
    AutoConfig,
    NemotronHConfig,
    NemotronHForCausalLM,
    RadioConfig,
    RadioModel,
)

ALL_LAYERS = ["linear_attention", "moe", "linear_attention", "full_attention", "moe", "mlp"]


def nemotron_h_model(layers, tied):
    config = NemotronHConfig(
        vocab_size=131,
        hidden_size=32,
        layers_block_type=layers,
        num_hidden_layers=len(layers),
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        mamba_num_heads=4,
        mamba_head_dim=8,
        n_groups=4,
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
        tie_word_embeddings=tied,
        use_cache=False,
    )
    if tied:  # which the class leaves to whoever saves its weights
        NemotronHForCausalLM._tied_weights_keys = {"lm_head.weight": "model.embeddings.weight"}
    model = NemotronHForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.05, 0.3)
        for kind, layer in zip(layers, model.model.layers):
            if kind == "moe":
                layer.mixer.gate.e_score_correction_bias.normal_(0, 0.1)
    return model


def radio_model():
    config = RadioConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2.0,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        patch_size=4,
        max_img_size=24,
        num_cls_tokens=1,
        num_registers=2,
        summary_idxs=[0],
    )
    model = RadioModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1 if "lambda1" in name else 0.1, 0.3)
    return model


def keep_layers(layers, count):
    """Fills a dictionary in the next forward: layer.N of the first layers, [tokens, hidden]."""
    kept = {}
    for i, layer in enumerate(layers[:count]):
        def keep(module, inputs, output, name=f"layer.{i}"):
            tensor = output[0] if isinstance(output, tuple) else output
            kept[name] = tensor.reshape(-1, tensor.shape[-1])

        layer.register_forward_hook(keep)
    return kept


def run_nemotron_h(model):
    ids = torch.randint(model.config.vocab_size, (2, 11))
    targets = torch.cat([ids[:, 1:], torch.full((2, 1), -1)], 1)
    targets[0, :4] = -1
    kept = keep_layers(model.model.layers, len(model.model.layers))
    logits = model(ids).logits.flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=-1)
    return {"input_ids": ids, "targets": targets}, kept | {"logits": logits, "loss": loss}


def run_radio(model):
    size = model.config.patch_size
    grids = [(4, 6), (6, 4), (2, 4)]
    images = [torch.randn(3, h * size, w * size) for h, w in grids]
    patches = [
        i.view(3, h, size, w, size).permute(1, 3, 0, 2, 4).reshape(h * w, -1)
        for i, (h, w) in zip(images, grids)
    ]
    kept = keep_layers(model.encoder.layer, len(model.encoder.layer) - 1)
    # What conditions pixels is the data's part.
    model.make_preprocessor_external()
    features = model(torch.cat(patches), image_grid_hw=torch.tensor(grids)).features
    d_features = torch.randn_like(features)
    inputs = {f"image.{i}": image for i, image in enumerate(images)} | {"d_features": d_features}
    return inputs, kept | {"features": features, "loss": (features * d_features).sum()}


def gradients_of(model):
    """By the names of files: gradients go the way of weights, saved as a model's."""
    absent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not absent, absent
    buffers = {name for name, _ in model.named_buffers()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = safetensors.torch.load_file(os.path.join(folder, "model.safetensors"))
    leaves = {name.rsplit(".", 1)[1] for name in buffers if "." in name} | {"summary_idxs"}
    return {
        f"gradient.{name}": tensor
        for name, tensor in saved.items()
        if name.rsplit(".", 1)[1] not in leaves
    }


def save(tensors, path):
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def generate(kind, folder):
    torch.manual_seed(1)
    model = {
        "nemotron_h": lambda: nemotron_h_model(ALL_LAYERS, tied=False),
        "nemotron_h_tied": lambda: nemotron_h_model(["linear_attention", "mlp"], tied=True),
        "radio": radio_model,
    }[kind]()
    shard_size = "60KB" if kind == "nemotron_h" else "5GB"
    model.save_pretrained(os.path.join(folder, "model"), max_shard_size=shard_size)
    inputs, outputs = (run_radio if kind == "radio" else run_nemotron_h)(model)
    outputs["loss"].backward()
    save(inputs, os.path.join(folder, "inputs.safetensors"))
    save(outputs | gradients_of(model), os.path.join(folder, "expected.safetensors"))


def load(folder):
    kind = AutoConfig.from_pretrained(folder).model_type
    make = {"nemotron_h": NemotronHForCausalLM, "radio": RadioModel}[kind]
    model, report = make.from_pretrained(folder, output_loading_info=True, torch_dtype="auto")
    wrong = {name: list(keys) for name, keys in report.items() if keys}
    if wrong:
        sys.exit(f"{folder}: {wrong}")
    return dict(model.state_dict())


def check(first, second):
    a, b = load(first), load(second)
    if a.keys() != b.keys():
        sys.exit(f"in one of the two only: {sorted(a.keys() ^ b.keys())}")
    for name, tensor in a.items():
        other = b[name]
        same = tensor.dtype == other.dtype and tensor.shape == other.shape
        if not same or tensor.numpy().tobytes() != other.numpy().tobytes():
            sys.exit(f"{name} differs")
    print(f"{len(a)} tensors of {first} and {second} are bitwise equal; none missing, none left")


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(*sys.argv[2:])
    else:
        generate(*sys.argv[1:])
