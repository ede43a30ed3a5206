"""The CUDA toolkit as a repository: an installed one, else the pinned wheels."""

# One header of each part that the build needs.
_NEEDED = ["cccl/cub/cub.cuh", "cublasLt.h", "cuda_runtime.h", "cudnn.h", "nccl.h"]

def _toolkit_impl(ctx):
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
    ctx.symlink(ctx.attr.build_file, "BUILD")

cuda_toolkit = repository_rule(
    implementation = _toolkit_impl,
    attrs = {"build_file": attr.label(mandatory = True)},
    environ = ["CUDA_HOME"],
)
