"""Writes types.safetensors with the format's own library.

Run with safetensors 0.8.0, torch 2.11.0 and numpy:
    python generate.py types.safetensors

One tensor of every element type that torch has. The bytes of each are 0, 1, 2 and so on, but those of
`bool` 0 and 1. Also a scalar and two tensors without elements.
"""

import sys

import torch
from safetensors.torch import save_file

TYPES = {
    "bool": torch.bool,
    "u8": torch.uint8,
    "i8": torch.int8,
    "f8_e5m2": torch.float8_e5m2,
    "f8_e4m3": torch.float8_e4m3fn,
    "f8_e8m0": torch.float8_e8m0fnu,
    "f8_e4m3fnuz": torch.float8_e4m3fnuz,
    "f8_e5m2fnuz": torch.float8_e5m2fnuz,
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


def counted(kind, shape):
    size = torch.empty(shape, dtype=kind, device="meta").nbytes
    values = torch.arange(size, dtype=torch.uint8)
    if kind == torch.bool:
        values %= 2
    return values.view(kind).reshape(shape)


tensors = {name: counted(kind, [3, 2]) for name, kind in TYPES.items()}
tensors["scalar"] = counted(torch.float32, [])
tensors["empty"] = torch.empty([0, 3], dtype=torch.bfloat16)
tensors["also_empty"] = torch.empty([0], dtype=torch.float32)
tensors["blocks.10.weight"] = counted(torch.float32, [2, 2])
tensors["blocks.9.weight"] = counted(torch.float32, [1, 2])
save_file(tensors, sys.argv[1], metadata={"format": "pt"})
