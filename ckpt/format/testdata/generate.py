"""Writes the checkpoints of this folder with PyTorch's and Megatron's own programs.

Run with torch 2.11.0 and megatron-core 0.16.1 (pip install --no-deps):
    python generate.py

dcp/      torch.distributed.checkpoint of a nested dict: a tensor of every type that is stored, a
          scalar, one without elements, and values that are no tensors
sharded/  the same of two processes that have rows 0-1 and 2-3 of w
mcore/    megatron.core.dist_checkpointing of one process
metadata.pN, metadata.old   the index of dcp/ pickled with protocol N; of an older release, where a
          class was in another module

Elements are those of the tests' pattern: element i of key k is
(((crc32(k) + i * 2654435761) mod 2^32) >> 24) - 128.
"""

import argparse
import os
import pickle
import shutil
import zlib

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp

TYPES = {
    "bool": torch.bool,
    "u8": torch.uint8,
    "i8": torch.int8,
    "f8_e5m2": torch.float8_e5m2,
    "f8_e4m3": torch.float8_e4m3fn,
    "f8_e8m0": torch.float8_e8m0fnu,
    "i16": torch.int16,
    "u16": torch.uint16,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i32": torch.int32,
    "u32": torch.uint32,
    "f32": torch.float32,
    "c64": torch.complex64,
    "f64": torch.float64,
    "i64": torch.int64,
    "u64": torch.uint64,
}


def pattern(key, shape, dtype=torch.float32):
    count = 1
    for dim in shape:
        count *= dim
    crc = zlib.crc32(key.encode())
    values = [(((crc + i * 2654435761) % 2**32) >> 24) - 128 for i in range(count)]
    return torch.tensor(values, dtype=torch.int64).reshape(shape).to(dtype)


def counted(dtype):
    """[3, 2] elements whose bytes are 0, 1, 2 and so on."""
    size = torch.empty([3, 2], dtype=dtype, device="meta").nbytes
    values = torch.arange(size, dtype=torch.uint8)
    if dtype == torch.bool:
        values %= 2
    return values.view(dtype).reshape(3, 2)


def write_dcp():
    state = {
        "model": {"w": pattern("w", [4, 8]), "e": pattern("e", [2, 3, 2, 2], torch.bfloat16)},
        "types": {name: counted(dtype) for name, dtype in TYPES.items()},
        "scalar": torch.tensor(2.5),
        "empty": torch.empty([0, 3]),
        "step": 3,
        "groups": [{"lr": 0.1, "betas": (0.9, 0.95), "name": None}],
    }
    dcp.save(state, checkpoint_id="dcp", no_dist=True)


def write_sharded(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    mesh = init_device_mesh("cpu", (2,))
    rows = pattern("w", [4, 8])[2 * rank : 2 * rank + 2].clone()
    dcp.save({"w": DTensor.from_local(rows, mesh, [Shard(0)]), "step": 3}, checkpoint_id="sharded")
    dist.destroy_process_group()


def write_metadata():
    with open("dcp/.metadata", "rb") as file:
        metadata = pickle.load(file)
    for protocol in (2, 4, 5):
        with open(f"metadata.p{protocol}", "wb") as file:
            pickle.dump(metadata, file, protocol)
    from torch.distributed._shard.sharded_tensor.metadata import TensorProperties

    for entry in metadata.state_dict_metadata.values():
        if hasattr(entry, "properties"):
            entry.properties = TensorProperties(dtype=entry.properties.dtype)
    with open("metadata.old", "wb") as file:
        pickle.dump(metadata, file, 4)


def write_mcore():
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29512")
    dist.init_process_group("gloo", rank=0, world_size=1)
    # It waits for copies from a device; here there is none.
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing import ShardedObject, ShardedTensor

    def expert(index):
        key = "language_model.module.module.decoder.layers.1.mlp.experts.experts.linear_fc1.weight"
        whole = pattern("exp.weight", [2, 3, 2])
        return ShardedTensor.from_rank_offsets(
            key, whole[index].clone(), (0, index, 2), replica_id=0, prepend_axis_num=1
        )

    weight = pattern("w", [4, 8], torch.bfloat16)
    state = {
        "w": ShardedTensor.from_rank_offsets("language_model.module.module.w", weight, replica_id=0),
        "e0": expert(0),
        "e1": expert(1),
        "extra": ShardedObject("lin._extra_state", None, (1,), (0,)),
        "rng": ShardedObject("language.rng_state", {"seed": 2**63 + 5}, (1, 1), (0, 0)),
        "args": argparse.Namespace(num_layers=2, lr=1e-4, bf16=True),
        "iteration": 10,
    }
    shutil.rmtree("mcore", ignore_errors=True)
    os.mkdir("mcore")
    dist_checkpointing.save(state, "mcore", content_metadata={"distrib_optim_sharding_type": "x"})
    dist.destroy_process_group()


if __name__ == "__main__":
    write_dcp()
    write_metadata()
    mp.spawn(write_sharded, nprocs=2)
    write_mcore()
