"""Loads the same images with load_benchmark and with megatron-energon, in turn, on one core each.

    ./bazelw build //data/energon:load_benchmark
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install megatron-energon==7.4.1
    /tmp/venv/bin/python data/energon/load_benchmark.py bazel-bin/data/energon/load_benchmark

Prints JSON: images a second of processor time, best, median and worst of the rounds. "read" is a
sample's bytes in the loader's order, "decode" its pixels as RGB, "features" those resized as Pillow
does, normalised and cut into patches. Files lie in the page cache.
"""

import contextlib
import io
import json
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import tempfile
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy  # noqa: E402
import torch  # noqa: E402
from importlib.metadata import version  # noqa: E402
from megatron.energon import (  # noqa: E402
    DefaultTaskEncoder,
    SampleDecoder,
    WorkerConfig,
    get_loader,
    get_train_dataset,
)
from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator  # noqa: E402
from PIL import Image  # noqa: E402

ROUNDS = 5
SHARDS, SAMPLES = 4, 128  # of a shard
BATCH = 16
WIDTH, HEIGHT = 800, 600
# What dynamic resolution makes of that with 1,024 patches of 16 pixels.
SHOWN_WIDTH, SHOWN_HEIGHT, PATCH = 576, 448, 16
IMAGES = {"read": 20480, "decode": 256, "features": 256}
MEAN = numpy.array([0.48145466, 0.4578275, 0.40821073], numpy.float32)
STD = numpy.array([0.26862954, 0.26130258, 0.27577711], numpy.float32)


def photograph(random):
    """Smooth colours with some grain: compresses about as photographs do."""
    coarse = random.integers(0, 256, (12, 16, 3), numpy.uint8)
    image = numpy.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.BICUBIC), float)
    image += random.normal(0, 6, image.shape)
    jpeg = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(numpy.uint8)).save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue()


def make_data_set(folder):
    random = numpy.random.default_rng(1)
    num_bytes = 0
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(SAMPLES):
                members = {"jpg": photograph(random), "txt": b"a photograph"}
                num_bytes += len(members["jpg"])
                for extension, content in members.items():
                    member = tarfile.TarInfo(f"{shard}_{i:04d}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    WebdatasetPreparator.prepare_dataset(
        folder,
        [f"{shard}.tar" for shard in range(SHARDS)],
        split_parts_patterns=[("train", ".*")],
        shuffle_seed=None,
        workers=1,
    )
    (folder / ".nv-meta" / "dataset.yaml").write_text(
        "sample_type: {__module__: megatron.energon, __class__: CaptioningSample}\n"
        "field_map: {image: jpg, caption: txt}\n"
    )
    return num_bytes // (SHARDS * SAMPLES)


class Read(DefaultTaskEncoder):
    decoder = None

    def batch(self, samples):
        return sum(len(sample.image) for sample in samples)


class Decode(DefaultTaskEncoder):
    decoder = SampleDecoder(image_decode="pilrgb")

    def batch(self, samples):
        return sum(sample.image.width * sample.image.height for sample in samples)


class Features(Decode):
    def batch(self, samples):
        patches = 0
        for sample in samples:
            shown = sample.image.resize((SHOWN_WIDTH, SHOWN_HEIGHT), Image.BICUBIC)
            pixels = (numpy.asarray(shown, numpy.float32) / 255 - MEAN) / STD
            grid = pixels.reshape(SHOWN_HEIGHT // PATCH, PATCH, SHOWN_WIDTH // PATCH, PATCH, 3)
            features = numpy.ascontiguousarray(grid.transpose(0, 2, 4, 1, 3))
            patches += features.reshape(-1, 3 * PATCH * PATCH).shape[0]
        return patches


ENCODERS = {"read": Read, "decode": Decode, "features": Features}


def run_reference(folder, mode):
    """Processor time and work of one worker in this process."""
    dataset = get_train_dataset(
        folder,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        batch_size=BATCH,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        task_encoder=ENCODERS[mode](),
    )
    batches = iter(get_loader(dataset))
    start = time.process_time()
    work = sum(next(batches) for _ in range(IMAGES[mode] // BATCH))
    return time.process_time() - start, work


def run_ours(program, folder, mode):
    out = subprocess.run([program, folder, mode, str(IMAGES[mode])], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    fields = dict(line.split() for line in out.splitlines())
    return float(fields["cpu_seconds"]), int(fields["work"])


def spread(speeds):
    ordered = sorted(speeds, reverse=True)
    return {"best": round(ordered[0], 1), "median": round(ordered[len(ordered) // 2], 1),
            "worst": round(ordered[-1], 1)}


def main():
    torch.set_num_threads(1)
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with contextlib.redirect_stdout(sys.stderr):  # what preparation says
            num_bytes = make_data_set(folder)
        report = {
            "image_bytes": num_bytes,
            "image_size": [WIDTH, HEIGHT],
            "machine": platform.processor() or platform.machine(),
            "versions": {p: version(p) for p in ("megatron-energon", "pillow", "numpy")},
        }
        for mode in IMAGES:
            speeds = {"ours": [], "energon": []}
            for _ in range(ROUNDS):
                for who, (seconds, work) in {
                    "ours": run_ours(program, folder, mode),
                    "energon": run_reference(folder, mode),
                }.items():
                    speeds[who].append(IMAGES[mode] / seconds)
                    if report.setdefault(f"{mode}_work", work) != work:
                        sys.exit(f"{mode}: {who} did {work}, not {report[f'{mode}_work']}")
            report[mode] = {who: spread(speed) for who, speed in speeds.items()}
            report[mode]["ours_is_faster_by"] = round(
                sorted(speeds["ours"])[ROUNDS // 2] / sorted(speeds["energon"])[ROUNDS // 2], 2)
            print(json.dumps({mode: report[mode]}), file=sys.stderr)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
