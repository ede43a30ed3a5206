"""Loads the directories that we wrote with PyTorch's and Megatron's own programs and compares.

Run with torch 2.11.0 and megatron-core 0.16.1 with psutil (pip install --no-deps):
    bazel run //ckpt/format/testing:write_pattern_checkpoint -- /tmp/pattern
    python read_with_python.py /tmp/pattern

Prints what was compared, a line each; the first difference ends it with an error.
"""

import io
import os
import pickle
import sys
import tempfile
import zipfile

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp

from generate import pattern

SHAPES = {
    "w": ([4, 8], torch.float32),
    "b": ([5], torch.bfloat16),
    "exp.weight": ([2, 3, 2], torch.int64),
    "s": ([], torch.float32),
    "e": ([0, 3], torch.float32),
    # As Megatron's wrappers have it; we call it language_model.decoder.final_norm.weight.
    "language_model.module.module.decoder.final_norm.weight": ([6], torch.float32),
}
KEYS = {
    "grid": list(SHAPES)[:5],
    "irregular": list(SHAPES)[:5],
    "saved": [key for key in SHAPES if key != "e"],
}
OBJECT = {"seed": 2**63, "lr": 0.1, "on": True}


def whole(key):
    shape, dtype = SHAPES[key]
    return pattern(key.replace("module.", ""), shape, dtype)


def expect(what, found, expected):
    same = torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected
    if not same:
        raise SystemExit(f"{what}: {found} is not {expected}")
    print(f"ok   {what}")


def check_items(folder, keys):
    """Every item by itself, as its index says: zip checksums, torch.load, mapped into memory too."""
    with open(os.path.join(folder, ".metadata"), "rb") as file:
        metadata = pickle.load(file)
    expect("keys", sorted(metadata.state_dict_metadata), sorted(keys + ["obj/shard_0_1"]))
    for key, entry in metadata.state_dict_metadata.items():
        for index, info in metadata.storage_data.items():
            if index.fqn != key:
                continue
            with open(os.path.join(folder, info.relative_path), "rb") as file:
                file.seek(info.offset)
                item = file.read(info.length)
            what = f"{key} {list(index.offset) if index.offset is not None else ''}"
            expect(f"{what}: zipfile.testzip", zipfile.ZipFile(io.BytesIO(item)).testzip(), None)
            value = torch.load(io.BytesIO(item), weights_only=True)
            if not hasattr(entry, "chunks"):
                expect(f"{what}: torch.load", value, [OBJECT])
                continue
            chunk = next(c for c in entry.chunks if c.offsets == index.offset)
            box = tuple(slice(o, o + s) for o, s in zip(chunk.offsets, chunk.sizes))
            part = whole(key)[box]
            expect(f"{what}: torch.load", value, part)
            with tempfile.NamedTemporaryFile() as file:
                file.write(item)
                file.flush()
                mapped = torch.load(file.name, weights_only=True, mmap=True)
                expect(f"{what}: torch.load, mmap", mapped, part)


def check_whole(folder, keys):
    state = {key: torch.full_like(whole(key), 99) for key in keys}
    state["obj/shard_0_1"] = None
    dcp.load(state, checkpoint_id=folder, no_dist=True)
    for key in keys:
        expect(f"{key}: torch.distributed.checkpoint, whole", state[key], whole(key))


def check_sharded(rank, folder):
    """Rows and columns of w on two ranks."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29513")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    for dim, name in enumerate(("rows", "columns")):
        state = {"w": distribute_tensor(torch.zeros(4, 8), mesh, [Shard(dim)])}
        dcp.load(state, checkpoint_id=folder)
        expected = pattern("w", [4, 8]).chunk(2, dim)[rank]
        expect(f"w: torch.distributed.checkpoint, {name} of rank {rank}", state["w"].to_local(), expected)
    dist.destroy_process_group()


def check_cast(folder):
    state = {"w": torch.zeros(4, 8, dtype=torch.bfloat16)}
    dcp.load(state, checkpoint_id=folder, no_dist=True)
    expect("w: PyTorch casts f32 to bf16 silently", state["w"], pattern("w", [4, 8], torch.bfloat16))


def check_megatron(folder, keys):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29514")
    dist.init_process_group("gloo", rank=0, world_size=1)
    # It waits for copies from a device; here there is none.
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing import ShardedObject, ShardedTensor
    from megatron.core.dist_checkpointing.validation import StrictHandling

    def sharded(key):
        return ShardedTensor.from_rank_offsets(key, torch.full_like(whole(key), 99), replica_id=0)

    # It divides by the size of a shard, so nothing without elements can be asked for.
    asked = [key for key in keys if key != "e"]
    state = {key: sharded(key) for key in asked}
    state["obj"] = ShardedObject("obj", None, (1,), (0,))
    loaded, missing, unexpected = dist_checkpointing.load(
        state, folder, strict=StrictHandling.RETURN_ALL
    )
    expect("Megatron: not asked for", missing, set(keys) - set(asked))
    expect("Megatron: not found", unexpected, set())
    for key in asked:
        expect(f"{key}: Megatron, whole", loaded[key], whole(key))
    expect("obj: Megatron", loaded["obj"], OBJECT)

    # The right half of the columns, as the second of two ranks would have it.
    data = torch.zeros(4, 4)
    half = {"w": ShardedTensor.from_rank_offsets("w", data, (1, 1, 2), replica_id=0)}
    loaded = dist_checkpointing.load(half, folder, validate_access_integrity=False)
    expect("w: Megatron, right half", loaded["w"], pattern("w", [4, 8])[:, 4:])

    common = dist_checkpointing.load_common_state_dict(folder)
    expect("common state: iteration", common["iteration"], 10)
    expect("common state: args", (common["args"].num_layers, common["args"].lr), (2, 1e-4))
    content = dist_checkpointing.load_content_metadata(folder)
    expect("content metadata", content, {"distrib_optim_sharding_type": "fully_reshardable"})
    dist.destroy_process_group()


def main():
    print(f"torch {torch.__version__}")
    for name, keys in KEYS.items():
        folder = os.path.join(sys.argv[1], name)
        print(f"{name}: {' '.join(sorted(os.listdir(folder)))}")
        check_items(folder, keys)
        check_whole(folder, keys)
        mp.spawn(check_sharded, args=(folder,), nprocs=2)
        check_cast(folder)
        check_megatron(folder, keys)


if __name__ == "__main__":
    main()
