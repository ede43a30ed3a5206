#!/usr/bin/env python3
"""Writes compile_commands.json at the root of the workspace.

usage: bazel run //tools/build:compile_commands [-- TARGETS]

The default is all targets. Generated headers are found once the targets are built.
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.environ["BUILD_WORKSPACE_DIRECTORY"]
# Flags of g++ that clang's tools refuse.
UNKNOWN_TO_CLANG = {
    "-Wno-free-nonheap-object",
    "-Wunused-but-set-parameter",
    "-fno-canonical-system-headers",
    "-fno-trapping-math",
}


def bazel(*arguments):
    return subprocess.run(
        [os.path.join(ROOT, "bazelw"), *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def main():
    targets = " + ".join(sys.argv[1:] or ["//... except //third_party/..."])
    actions = json.loads(
        bazel(
            "aquery",
            "--noshow_progress",
            "--output=jsonproto",
            "--include_artifacts=false",
            f'mnemonic("CppCompile", {targets})',
        )
    ).get("actions", [])
    execution_root = bazel("info", "execution_root").strip()
    # The execution root links only the repositories of the last build.
    external = bazel("info", "output_base").strip() + "/external/"
    commands = {}
    for action in actions:
        arguments = [word for word in action["arguments"] if word not in UNKNOWN_TO_CLANG]
        source = arguments[arguments.index("-c") + 1]
        if source.startswith(("external/", "bazel-out/")):
            continue
        commands[source] = {
            "directory": execution_root,
            "file": os.path.join(ROOT, source),
            "arguments": [
                os.path.join(ROOT, word) if word == source
                else re.sub(r"^(-I)?external/", rf"\g<1>{external}", word)
                for word in arguments
            ],
        }
    with open(os.path.join(ROOT, "compile_commands.json"), "w", encoding="utf-8") as file:
        json.dump(list(commands.values()), file, indent=1)
    print(f"{len(commands)} files")


if __name__ == "__main__":
    main()
