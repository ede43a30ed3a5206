"""The CUDA toolkit as a repository: an installed one, else the pinned wheels.

HETERO_CUDA=1 switches it on, which --config=cuda sets. Without it the repository has its targets
but no file behind them: whatever a build or a query loads, nothing is fetched or looked for.
"""

# One header of each part that the build needs.
_NEEDED = ["cccl/cub/cub.cuh", "cublasLt.h", "cuda_runtime.h", "cudnn.h", "nccl.h"]

def _link_toolkit(ctx):
    home = ctx.os.environ.get("CUDA_HOME", "")
    if home:
        root = ctx.path(home)
    else:
        root = ctx.path(Label("@cuda_wheels//:BUILD")).dirname
    missing = [header for header in _NEEDED if not ctx.path("%s/include/%s" % (root, header)).exists]
    if missing:
        fail("CUDA_HOME=%s: no %s in its include folder; name a toolkit that has all, or unset " %
             (home, ", ".join(missing)) + "CUDA_HOME for the pinned wheels")
    libraries = root.get_child("lib64")
    if not libraries.exists:
        libraries = root.get_child("lib")
    ctx.symlink(root.get_child("bin"), "bin")
    ctx.symlink(root.get_child("include"), "include")
    ctx.symlink(root.get_child("nvvm"), "nvvm")
    ctx.symlink(libraries, "lib")

    headers = ctx.path(Label("@cuda_header_wheels//:BUILD")).dirname
    ctx.symlink(headers.get_child("cutlass"), "cutlass")
    ctx.symlink(headers.get_child("include"), "cudnn_frontend/include")

def _toolkit_impl(ctx):
    enabled = ctx.os.environ.get("HETERO_CUDA", "") == "1"
    ctx.file("enabled.bzl", "ENABLED = %s\n" % enabled)
    ctx.symlink(ctx.attr.build_file, "BUILD")
    if enabled:
        _link_toolkit(ctx)

cuda_toolkit = repository_rule(
    implementation = _toolkit_impl,
    attrs = {"build_file": attr.label(mandatory = True)},
    environ = [
        "CUDA_HOME",
        "HETERO_CUDA",
    ],
)
