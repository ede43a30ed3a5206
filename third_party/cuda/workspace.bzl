"""CUDA. Nothing is fetched or looked for unless a build has --config=cuda."""

load("//third_party/cuda:toolkit.bzl", "cuda_toolkit")
load("//third_party/cuda:wheels.bzl", "cuda_wheels")

def repository():
    """Declares @cuda, the wheels behind it and @cuda_headers unless the workspace has its own."""
    if native.existing_rule("cuda_wheels") == None:
        cuda_wheels(
            name = "cuda_wheels",
            build_file = Label("//third_party/cuda:wheels.BUILD"),
            requirements = Label("//third_party/cuda:wheels.txt"),
        )
    if native.existing_rule("cuda_headers") == None:
        cuda_wheels(
            name = "cuda_headers",
            build_file = Label("//third_party/cuda:headers.BUILD"),
            requirements = Label("//third_party/cuda:header_wheels.txt"),
        )
    if native.existing_rule("cuda") == None:
        cuda_toolkit(
            name = "cuda",
            build_file = Label("//third_party/cuda:toolkit.BUILD"),
        )
