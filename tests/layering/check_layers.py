#!/usr/bin/env python3
"""Checks a graph of `bazel query --output=graph --nograph:factored` against the layers below.

usage: check_layers.py GRAPH

Prints each edge that breaks a rule, and for a repository that a library must not pull in the whole
chain to it. Exits with 1 if there is any.
"""

import collections
import re
import sys

# Folder -> the folders of this repository that it may use, besides itself and what ANYONE may use.
LAYERS = {
    "base": [],
    "telemetry": ["base"],
    "tensor": ["base", "telemetry"],
    "grid": ["base"],
    "params": ["base", "telemetry", "tensor", "grid"],
    "comm": ["base", "telemetry", "tensor", "grid"],
    "data": ["base", "telemetry", "tensor", "grid"],
    "optim": ["base", "telemetry", "tensor", "grid", "params", "comm"],
    "models": ["base", "telemetry", "tensor", "grid", "params", "comm"],
    "ckpt": ["base", "telemetry", "tensor", "grid", "params", "comm"],
}
LAYERS["trainer"] = list(LAYERS)
LAYERS["tools"] = list(LAYERS)
LAYERS["tests"] = list(LAYERS)

# Packages that any target may name.
ANYONE = ["tools/build", "third_party"]

# Repositories and packages that only these folders may name directly.
ONLY = {
    "//third_party/cuda": ["comm", "tensor", "tests", "third_party"],
    "@cuda//": ["third_party"],
    "@com_google_absl//absl/flags": ["tools", "trainer"],
    "@com_google_highway//": ["tensor"],
    "@gloo//": ["comm"],
    "@onednn//": ["tensor"],
}

# What only tests may name: newer than the oldest Abseil that a user's workspace may bring.
TESTS_ONLY = ["@com_google_absl//absl/status:status_matchers"]

_PROTOBUF = ["@com_google_protobuf//"]
_BLAS = ["@onednn//"]
_DEVICE = ["//third_party/cuda", "@cuda//"]
_TRANSPORT = ["@gloo//", "@openmpi//", "//comm/nccl", "//comm/processes", "//comm/threads"]
_DECODERS = [
    "@libjpeg_turbo//",
    "@libpng//",
    "@libwebp//",
    "@nlohmann_json//",
    "@pcre2//",
    "@sentencepiece//",
    "@sqlite3//",
    "@utf8proc//",
    "@yaml_cpp//",
]

# Libraries, "//x/...": all of a folder but its tests, -> what they must not pull in, however long
# the chain. Each must be in the graph.
NEVER = {
    "//grid:grid": _PROTOBUF + _BLAS + _DEVICE + _TRANSPORT + _DECODERS,
    "//comm:communicator": _PROTOBUF + _BLAS + _TRANSPORT + _DECODERS,
    "//data:data": _PROTOBUF,
    "//data/...": _BLAS + _DEVICE + _TRANSPORT,
    "//ckpt/...": _PROTOBUF + _TRANSPORT,
    "//optim/...": _TRANSPORT + _DECODERS,
    "//models/...": _TRANSPORT + _DECODERS,
}

# Where a build chooses between a device and its absence. Queries see both; what follows is not in
# the default build.
_SWITCH = "//tensor/cuda:runtime"

# Whether a build has devices at all. Tests of any folder may ask, and be left out where not.
_QUESTION = "//third_party/cuda:enabled"

_EDGE = re.compile(r'^\s*"([^"]+)" -> "([^"]+)"$')


def read_edges(lines):
    """Returns {label: [labels it names]} of a graph's lines."""
    edges = collections.defaultdict(list)
    for line in lines:
        match = _EDGE.match(line)
        if match:
            edges[match.group(1)].append(match.group(2))
    return edges


def folder(label):
    """Returns the top folder of a label of this repository, else None."""
    if not label.startswith("//"):
        return None
    return re.split(r"[/:]", label[2:])[0]


def within(label, prefix):
    """Whether a label lies in a repository ("@x//"), or in a package or below it."""
    if prefix.endswith("//"):
        return label.startswith(prefix)
    return label.startswith((prefix + ":", prefix + "/"))


def direct_violations(edges):
    for source, targets in sorted(edges.items()):
        user = folder(source)
        if not user or user not in LAYERS or any(within(source, "//" + p) for p in ANYONE):
            continue
        for target in sorted(targets):
            if target in TESTS_ONLY and not serves_tests(source):
                yield f"{source} -> {target}: only tests may use it"
            for prefix, users in ONLY.items():
                if target == _QUESTION and is_test(source):
                    continue
                if within(target, prefix) and user not in users:
                    yield f"{source} -> {target}: only {', '.join(users)} may use {prefix}"
            used = folder(target)
            if used is None or used in ("", user) or any(within(target, "//" + p) for p in ANYONE):
                continue
            if used not in LAYERS[user]:
                allowed = ", ".join(LAYERS[user]) or "no other folder"
                yield f"{source} -> {target}: {user} may use {allowed}"


def serves_tests(label):
    return "/testing:" in label or label.endswith(("_test", "_test_cases", "_harness"))


def is_test(label):
    name = label.split(":")[1]
    return name == "example" or name.endswith(("_test", "_test_cases", "_benchmark"))


def libraries(edges, pattern):
    """The labels of NEVER's `pattern` in the graph."""
    if not pattern.endswith("/..."):
        return [pattern] if pattern in edges else []
    inside = [at for at in edges if within(at, pattern[: -len("/...")])]
    return [at for at in inside if not is_test(at) and not serves_tests(at)]


def chain_violations(edges):
    for pattern, prefixes in NEVER.items():
        parent = {library: None for library in libraries(edges, pattern)}
        queue = collections.deque(parent)
        while queue:
            label = queue.popleft()
            if any(within(label, prefix) for prefix in prefixes):
                chain = []
                at = label
                while at is not None:
                    chain.append(at)
                    at = parent[at]
                yield f"{pattern} must not pull in {label}: {' -> '.join(reversed(chain))}"
                continue
            if label == _SWITCH:
                continue
            for target in edges.get(label, []):
                if target not in parent:
                    parent[target] = label
                    queue.append(target)


def violations(edges):
    return list(direct_violations(edges)) + list(chain_violations(edges))


def main():
    with open(sys.argv[1], encoding="utf-8") as graph:
        edges = read_edges(graph)
    missing = [pattern for pattern in NEVER if not libraries(edges, pattern)]
    if missing:
        print(f"not in the graph: {', '.join(missing)}")
    found = violations(edges)
    for violation in found:
        print(violation)
    print(f"{sum(map(len, edges.values()))} edges, {len(found)} violations")
    return 1 if found or missing else 0


if __name__ == "__main__":
    sys.exit(main())
