"""Writes dp_reshardable/ with Megatron's own distributed optimizer: its state in buckets.

Run with torch 2.11.0 and megatron-core 0.16.0 (pip install --no-deps):
    python generate.py

Two data-parallel processes share the parameters a [10,10], b [30] and c [8,8] in f32, whose values
are those of the tests' pattern for "a", "b" and "c". exp_avg is their double and exp_avg_sq their
square. one/ has one bucket; two/ two, of c and b and of a.
"""

import os
import shutil
import zlib

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.overrides import TorchFunctionMode

SHAPES = {"a": [10, 10], "b": [30], "c": [8, 8]}


class WithoutDevice(TorchFunctionMode):
    """Megatron asks for memory of a GPU by name and for names of types there; here is none.

    Memory that it does not fill, between parameters, is 0, so that files are the same each time.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "cpu"
        result = func(*args, **kwargs)
        if func is torch.empty:
            result.zero_()
        if func is torch.Tensor.type and len(args) == 1:
            return result.replace("torch.", "torch.cuda.", 1)
        return result


def pattern(key, shape):
    count = torch.Size(shape).numel()
    crc = zlib.crc32(key.encode())
    values = [(((crc + i * 2654435761) % 2**32) >> 24) - 128 for i in range(count)]
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


class Model(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        for name, shape in SHAPES.items():
            self.register_parameter(name, torch.nn.Parameter(pattern(name, shape)))


def write(folder, bucket_size):
    from megatron.core import dist_checkpointing
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.transformer import TransformerConfig

    config = TransformerConfig(num_layers=1, hidden_size=8, num_attention_heads=1)
    parallel = DistributedDataParallel(
        config,
        DistributedDataParallelConfig(
            use_distributed_optimizer=True, overlap_grad_reduce=True, bucket_size=bucket_size
        ),
        Model(config),
    )
    optimizer = get_megatron_optimizer(
        OptimizerConfig(optimizer="adam", lr=1e-3, use_distributed_optimizer=True), [parallel]
    )
    metadata = {"distrib_optim_sharding_type": "dp_reshardable"}
    for inner in getattr(optimizer, "chained_optimizers", [optimizer]):
        for group in inner.optimizer.param_groups:
            for master in group["params"]:
                inner.optimizer.state[master] = {
                    "step": torch.tensor(3.0),
                    "exp_avg": 2 * master.detach(),
                    "exp_avg_sq": master.detach() ** 2,
                }
    state = optimizer.sharded_state_dict({}, is_loading=False, metadata=metadata)
    if dist.get_rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    dist.barrier()
    dist_checkpointing.save({"optimizer": state}, folder, content_metadata=metadata)


def run(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29513")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"
    from megatron.core import parallel_state

    parallel_state.initialize_model_parallel()
    with WithoutDevice():
        write("dp_reshardable/one", None)
        write("dp_reshardable/two", 90)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(run, nprocs=2)
