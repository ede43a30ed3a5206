#!/usr/bin/env python3
"""Makes a workspace of the READMEs' text, as someone who copies it would.

usage: assemble.py OUT [LIBRARY...]

A fence of a README whose first line has a second word, as in "```python BUILD", is the file of that
name: of the workspace when it stands in the README of the repository, of a folder of the library's
name when it stands in a library's. OUT/../hetero must be the repository when Bazel reads OUT. With
LIBRARY only those are taken. The programs beside this file are added to a workspace of all.
"""

import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARIES = [
    "base", "ckpt", "comm", "data", "grid", "models", "optim", "params", "telemetry", "tensor", "trainer",
]  # fmt: skip

_FENCE = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files_in(readme):
    """Returns {name: text} of the fences that name a file."""
    return dict(_FENCE.findall(readme.read_text(encoding="utf-8")))


def library_files(library):
    files = files_in(ROOT / library / "README.md")
    if sorted(files) != ["BUILD", "example.cc"]:
        sys.exit(f"{library}/README.md has the files {sorted(files)}, not BUILD and example.cc")
    if files["example.cc"] != (ROOT / library / "example.cc").read_text(encoding="utf-8"):
        sys.exit(f"{library}/README.md does not show {library}/example.cc as it is")
    return files


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def main():
    out = pathlib.Path(sys.argv[1])
    chosen = sys.argv[2:]
    write(out, files_in(ROOT / "README.md"))
    for library in chosen or LIBRARIES:
        write(out / library, library_files(library))
    if not chosen:
        shutil.copytree(pathlib.Path(__file__).parent / "programs", out / "programs")


if __name__ == "__main__":
    main()
