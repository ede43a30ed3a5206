#!/usr/bin/env python3
"""Writes orders.txt and leaves.txt: what megatron-energon 7.4.1 reads of the *.yaml beside this file.

usage: generate.py

Every sample of the data sets holds one number: a base of the data set and its place in the split,
shards that the split excludes left out. A line of orders.txt begins with the settings of a loader or
with a rank; then come the numbers that its batches hold, with / at the end of a pass or a virtual epoch.
"""

import io
import json
import pathlib
import shutil
import sys
import tarfile
import tempfile

from megatron.energon import (
    DefaultTaskEncoder,
    WorkerConfig,
    get_loader,
    get_train_dataset,
    get_val_dataset,
)
from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator
from megatron.energon.metadataset.loader import load_dataset

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 200

# name: (first number, samples of each shard, excluded).
DATA_SETS = {
    "ds1": (0, [10, 10, 10, 10, 10, 5], []),
    "ds2": (100, [7], []),
    "ds3": (200, [10, 10, 10, 10, 10, 5], []),
    "odd": (300, [7, 1, 9, 4, 2], []),
    "cut": (
        400,
        [10, 10, 10],
        ["parts/data-1.tar", "parts/data-2.tar/000413", "parts/data-0.tar/00040{0,4}"],
    ),
}

BOTH = [(1, 1), (1, 4), (2, 2), (4, 1)]
CASES = [
    # path, shapes (ranks, workers), settings
    ("ds1", [(1, 0), (2, 0), (1, 2), (1, 4), (2, 2), (4, 1), (3, 1)], {}),
    ("ds1", [(8, 1), (2, 4)], {"max_samples_per_sequence": 3}),
    ("ds1", [(1, 2)], {"max_samples_per_sequence": 4}),
    ("ds1", [(2, 1)], {"shuffle_over_epochs": 2}),
    ("ds1", [(2, 1)], {"shuffle_over_epochs": -1}),
    ("ds1", [(1, 2)], {"seed_offset": 42, "shuffle_buffer_size": 10}),
    ("ds1", [(1, 2)], {"batch_size": 2}),
    ("ds1", [(2, 2), (1, 2)], {"virtual_epoch_length": 5}),
    ("odd", [(1, 1), (2, 2)], {}),
    ("odd", [(1, 2)], {"repeat": 0, "batch_size": 3}),
    ("cut", [(1, 1), (2, 2)], {}),
    ("blend.yaml", BOTH, {}),
    ("blend.yaml", [(1, 2), (2, 1)], {"shuffle_buffer_size": 5, "max_samples_per_sequence": 7}),
    ("blend.yaml", [(2, 2)], {"split": "val"}),
    ("nest.yaml", [(1, 1), (3, 2)], {}),
    ("epochized.yaml", [(1, 1), (2, 1), (1, 2)], {}),
    ("epochized.yaml", [(1, 2)], {"repeat": 0, "batch_size": 2}),
    ("outer_epochized.yaml", [(1, 3), (2, 1)], {}),
    ("subset.yaml", [(1, 2), (2, 1)], {}),
    ("odd.yaml", [(1, 3), (3, 1)], {"shuffle_buffer_size": 3}),
    ("odd.yaml", [(2, 1)], {"split": "val", "batch_size": 3}),
]


class Encoder(DefaultTaskEncoder):
    def batch(self, samples):
        return [int(sample.text) for sample in samples]


def make_data_set(folder, base, shards, exclude):
    (folder / "parts").mkdir(parents=True)
    number = base
    for k, count in enumerate(shards):
        name = f"parts/data-{k}.tar"
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(count):
                text = b"-1" if name in exclude else str(number).encode()
                member = tarfile.TarInfo(
                    f"{number:06d}.txt" if name not in exclude else f"x{i}.txt"
                )
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
                number += name not in exclude
    WebdatasetPreparator.prepare_dataset(
        folder,
        [f"parts/data-{k}.tar" for k in range(len(shards))],
        split_parts_patterns=[("train", ".*")],
        shuffle_seed=None,
        workers=1,
    )
    meta = folder / ".nv-meta"
    names = [f"parts/data-{k}.tar" for k in range(len(shards))]
    (meta / "split.yaml").write_text(
        json.dumps({"split_parts": {"train": names}, "exclude": exclude})
    )
    (meta / "dataset.yaml").write_text(
        "sample_type: {__module__: megatron.energon, __class__: TextSample}\n"
        "field_map: {text: txt}\n"
    )


def read(path, ranks, workers, rank, settings):
    config = WorkerConfig(
        rank=rank,
        world_size=ranks,
        num_workers=workers,
        seed_offset=settings.get("seed_offset", 0),
    )
    batch_size = settings.get("batch_size", 1)
    if settings.get("split") == "val":
        dataset = get_val_dataset(
            path, split_part="val", worker_config=config, batch_size=batch_size, task_encoder=Encoder()
        )
    else:
        dataset = get_train_dataset(
            path,
            worker_config=config,
            batch_size=batch_size,
            shuffle_buffer_size=settings.get("shuffle_buffer_size"),
            max_samples_per_sequence=settings.get("max_samples_per_sequence"),
            virtual_epoch_length=settings.get("virtual_epoch_length", 0),
            shuffle_over_epochs_multiplier=settings.get("shuffle_over_epochs", 1),
            repeat=bool(settings.get("repeat", 1)),
            task_encoder=Encoder(),
        )
    loader = get_loader(dataset)
    ends = settings.get("split") == "val" or "repeat" in settings
    numbers, steps = [], 0
    while steps < STEPS:
        begin = steps
        for batch in loader:
            numbers += batch
            steps += 1
            if steps == STEPS:
                break
        else:
            numbers.append("/")
        # One pass is what a loader without end of its own gives.
        if ends or steps == begin:
            break
    return numbers


def main():
    folder = pathlib.Path(tempfile.mkdtemp())
    for name, (base, shards, exclude) in DATA_SETS.items():
        make_data_set(folder / name, base, shards, exclude)
    for yaml in HERE.glob("*.yaml"):
        shutil.copy(yaml, folder)

    lines = []
    for path, shapes, settings in CASES:
        for ranks, workers in shapes:
            fields = {"path": path, "ranks": ranks, "workers": workers} | settings
            lines.append("case " + " ".join(f"{name}={value}" for name, value in fields.items()))
            for rank in range(ranks):
                numbers = read(folder / path, ranks, workers, rank, settings)
                lines.append(" ".join(map(str, [f"rank {rank}", *numbers])))
            print(lines[-ranks - 1], file=sys.stderr)
    (HERE / "orders.txt").write_text("\n".join(lines) + "\n")

    config = WorkerConfig(rank=0, world_size=1, num_workers=0)
    lines = []
    for yaml in sorted(HERE.glob("*.yaml")):
        loaded = load_dataset(folder / yaml.name).get_datasets(
            training=True,
            split_part="train",
            worker_config=config,
            decoder=None,
            max_samples_per_sequence=None,
        )
        lines.append(f"file {yaml.name} {loaded.blend_mode.value}")
        for leaf in loaded.datasets:
            dataset = leaf.dataset
            subset = dataset.subset
            begin, end = (
                subset.compute_subset(len(dataset)) if subset is not None else (0, len(dataset))
            )
            share = leaf.weight if leaf.weight is not None else leaf.repetitions
            flavors = ",".join(f"{k}:{v}" for k, v in sorted(dataset.subflavors.items()))
            lines.append(
                f"leaf {pathlib.Path(str(dataset.path)).name} {float(share or 0)!r} {begin} {end} "
                f"{dataset.shuffle_over_epochs} {flavors or '-'}"
            )
    (HERE / "leaves.txt").write_text("\n".join(lines) + "\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
