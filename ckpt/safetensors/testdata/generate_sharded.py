"""Writes sharded/ with torch.distributed.checkpoint's own writer of safetensors files.

Run with torch 2.11.0 and safetensors 0.8.0:
    python generate_sharded.py

Two processes have columns 0-3 and 4-7 of w, and e[0:2] and e[2:4]; the first has the scalar s.
whole.safetensors is a file of other origin that lies beside theirs. Elements are those of the
tests' pattern (//ckpt/testing:pattern).
"""

import os
import shutil
import zlib

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from safetensors.torch import save_file


def pattern(key, shape, dtype=torch.float32):
    count = 1
    for dim in shape:
        count *= dim
    crc = zlib.crc32(key.encode())
    values = [(((crc + i * 2654435761) % 2**32) >> 24) - 128 for i in range(count)]
    return torch.tensor(values, dtype=torch.int64).reshape(shape).to(dtype)


def write(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29513")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    mesh = init_device_mesh("cpu", (2,))
    columns = pattern("w", [4, 8])[:, 4 * rank : 4 * rank + 4].contiguous()
    blocks = pattern("e", [4, 3, 2], torch.bfloat16)[2 * rank : 2 * rank + 2].clone()
    dcp.save(
        {
            "w": DTensor.from_local(columns, mesh, [Shard(1)]),
            "e": DTensor.from_local(blocks, mesh, [Shard(0)]),
            "s": torch.tensor(2.5),
        },
        storage_writer=dcp.HuggingFaceStorageWriter("sharded", save_distributed=True),
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    shutil.rmtree("sharded", ignore_errors=True)
    mp.spawn(write, nprocs=2)
    save_file({"b": pattern("b", [5], torch.bfloat16)}, "sharded/whole.safetensors")
