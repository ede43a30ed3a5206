#!/usr/bin/env python3
"""Prints the targets that READMEs name: `//x:y`, `//x` or, in a library's own README, `:y`."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def labels_in(readme):
    package = readme.parent.relative_to(ROOT).as_posix()
    text = re.sub(r"^```.*?^```$", "", readme.read_text(encoding="utf-8"), flags=re.M | re.S)
    for label in re.findall(r"`((?://[a-z_]+(?:/[a-z_]+)*)?(?::[a-z_]+)?)`", text):
        yield f"//{package}{label}" if label.startswith(":") else label


def readmes():
    for readme in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/README.md")]:
        # Bazel's convenience links lead to the same files again.
        if not readme.relative_to(ROOT).parts[0].startswith("bazel-"):
            yield readme


def main():
    print(" ".join(sorted({label for readme in readmes() for label in labels_in(readme) if label})))


if __name__ == "__main__":
    main()
