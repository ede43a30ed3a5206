"""Unpacks the parts of wheels that a build needs into one folder.

usage: unpack_wheels.py OUT WHEEL...

A toolkit's nvidia/*/{bin,include,lib,nvvm} become OUT/{bin,include,lib,nvvm}. Headers that lie
elsewhere in a wheel go to OUT/include as well, those of CUTLASS to OUT/cutlass.
"""

import os
import pathlib
import re
import shutil
import sys
import zipfile

# Where a member of a wheel goes; the first that matches counts.
PLACES = [
    (re.compile(r"nvidia/[^/]+/((?:bin|include|lib|nvvm)/.+)"), r"\1"),
    (re.compile(r"cutlass_library/source/(include/.+)"), r"cutlass/\1"),
    (re.compile(r"cutlass_library/source/tools/util/(include/.+)"), r"cutlass/\1"),
    (re.compile(r"(include/.+)"), r"\1"),
]


def place(member):
    for pattern, target in PLACES:
        match = pattern.fullmatch(member)
        if match:
            return match.expand(target)
    return None


def unpack(wheel, out):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            target = place(member.filename)
            if target is None or member.is_dir() or target.endswith(".py"):
                continue
            path = out / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as destination:
                shutil.copyfileobj(source, destination, 1 << 20)
            if target.startswith(("bin/", "nvvm/bin/")):
                os.chmod(path, 0o755)  # a wheel keeps no modes


def main():
    out = pathlib.Path(sys.argv[1])
    for wheel in sys.argv[2:]:
        unpack(wheel, out)


if __name__ == "__main__":
    main()
