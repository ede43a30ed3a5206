"""CUDA. Nothing is fetched or looked for unless a build has --config=cuda."""

load("//third_party/cuda:toolkit.bzl", "cuda_toolkit")
load("//third_party/cuda:wheels.bzl", "cuda_wheels")

def repository():
    """Declares @cuda, and the wheels that it reads, unless the workspace has its own."""
    for name, requirements in {
        "cuda_header_wheels": "header_wheels.txt",
        "cuda_wheels": "wheels.txt",
    }.items():
        if native.existing_rule(name) == None:
            cuda_wheels(
                name = name,
                build_file = Label("//third_party/cuda:wheels.BUILD"),
                requirements = Label("//third_party/cuda:" + requirements),
            )
    if native.existing_rule("cuda") == None:
        cuda_toolkit(
            name = "cuda",
            build_file = Label("//third_party/cuda:toolkit.BUILD"),
        )
