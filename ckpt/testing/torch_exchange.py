#!/usr/bin/env python3
"""The other side of torch_exchange: PyTorch reads what it wrote, and writes what it checks.

usage: torch_exchange.py read FOLDER | torch_exchange.py write FOLDER

Needs torch 2.11. `read` compares every tensor of the folder with the pattern.
"""

import pathlib
import sys
import zlib

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata


def pattern(key, shape, dtype):
    count = 1
    for size in shape:
        count *= size
    product = torch.arange(count, dtype=torch.int64) * 2654435761 % 2**32
    values = ((zlib.crc32(key.encode()) + product) % 2**32 >> 24) - 128
    return values.reshape(shape).to(dtype)


def canonical(key):
    return ".".join(part for part in key.split(".") if part != "module")


def read(folder):
    metadata = dcp.FileSystemReader(folder).read_metadata()
    total = 0
    for key, entry in metadata.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            continue
        target = {key: torch.full(entry.size, 99).to(entry.properties.dtype)}
        dcp.load(target, checkpoint_id=folder)
        expected = pattern(canonical(key), list(entry.size), entry.properties.dtype)
        if not torch.equal(target[key], expected):
            sys.exit(f"{key} differs")
        total += 1
    common = torch.load(pathlib.Path(folder) / "common.pt", weights_only=True)
    print(f"{total} tensors are equal; common.pt has {common}")


def write(folder):
    state = {}
    for key, shape, dtype in [
        ("decoder.weight", [6, 5, 4], torch.float32),
        ("decoder.bias", [7], torch.bfloat16),
        ("decoder.scale", [], torch.float32),
        ("counts", [3, 2], torch.int64),
    ]:
        state[key] = pattern(key, shape, dtype)
    dcp.save(state, checkpoint_id=folder)
    print(f"{len(state)} tensors written")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](sys.argv[2])
