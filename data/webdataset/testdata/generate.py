#!/usr/bin/env python3
"""Writes media/, a data set that megatron-energon 7.4.1 prepared, and media.txt: what it finds there.

usage: generate.py

A line of media.txt is a file's name and the bytes that megatron.energon's file store of the data set gives
for it, or "none".
"""

import io
import pathlib
import shutil
import tarfile

from megatron.energon.cache.file_store import WebdatasetFileStore
from megatron.energon.epathlib import EPath
from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "media"

SHARDS = {
    "a/first.tar": ["photos/17.jpg", "photos/17.0.jpg", "__skip__/x.jpg", "photos/18.jpg", "top.JPG"],
    "second.tar": ["photos/19.tar.gz", "a'b \u00e9.png", "n" * 120 + ".png"],
}
ASKED = [
    "photos/17.jpg",
    "photos/17.0.jpg",
    "photos/18.jpg",
    "top.JPG",
    "photos/19.tar.gz",
    "a'b \u00e9.png",
    "n" * 120 + ".png",
    "photos/17.1.jpg",
    "photos/20.jpg",
    "top.jpg",
    "17.jpg",
    "photos/17",
    "__skip__/x.jpg",
    "photos/19.tar",
]


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for shard, names in SHARDS.items():
        path = FOLDER / shard
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in names:
                payload = f"{shard} has {name}".encode()
                member = tarfile.TarInfo(name)
                member.size = len(payload)
                tar.addfile(member, io.BytesIO(payload))
    WebdatasetPreparator.prepare_dataset(
        FOLDER, list(SHARDS), split_parts_ratio=[("train", 1.0)], tar_index_only=False, workers=1
    )
    (FOLDER / ".nv-meta" / "dataset.yaml").write_text(
        "__module__: megatron.energon\n__class__: CrudeWebdataset\n"
    )
    store = WebdatasetFileStore(EPath(FOLDER))
    with open(HERE / "media.txt", "w", encoding="utf-8") as lines:
        for name in ASKED:
            try:
                found = store[name][0].decode()
            except (KeyError, ValueError):
                found = "none"
            lines.write(f"{name}\t{found}\n")


if __name__ == "__main__":
    main()
