"""Reads the file that //tools/bench:run_start writes: a dict of numpy arrays by name.

The format is safetensors: the length of a JSON header in 8 bytes, little-endian, the header with type,
shape and place of every tensor, and their bytes.
"""

import json

import numpy as np

TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def read(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    arrays = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        kind = np.dtype(TYPES[tensor["dtype"]])
        values = np.frombuffer(data, kind, (end - begin) // kind.itemsize, begin)
        arrays[name] = values.reshape(tensor["shape"])
    return arrays
