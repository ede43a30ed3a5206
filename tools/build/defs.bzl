"""The rules of this repository: they set warnings and include prefixes in one place.

A header grid/view.h is included as "hetero/grid/view.h", here and in any workspace that uses this
one. proto.bzl has the rules for messages.
"""

load("@rules_cc//cc:cc_binary.bzl", "cc_binary")
load("@rules_cc//cc:cc_library.bzl", "cc_library")
load("@rules_cc//cc:cc_test.bzl", "cc_test")
load("//third_party/cuda:cuda_library.bzl", "cuda_library")

_INCLUDE_PREFIX = "hetero"

_WARNINGS = [
    "-Wall",
    "-Wextra",
    # Designated initializers leave out what has a default.
    "-Wno-missing-field-initializers",
]

# A kernel may contract to fused multiply-adds and ignores errno and floating-point traps. Sums are
# reassociated only where a loop says so.
_KERNEL_COPTS = [
    "-O3",
    # In every workspace, whatever its own flags: kernels are written for vectors of 32 bytes or more.
    "-march=x86-64-v3",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-mprefer-vector-width=512",
    # Highway: what x86-64-v3 leaves out does not lower the baseline below it, and of the wider
    # targets one is enough: no kernel uses what those above AVX-512 add.
    "-DHWY_DISABLE_PCLMUL_AES",
    "-DHWY_DISABLED_TARGETS=HWY_AVX3_DL",
]

def hetero_cc_library(name, copts = [], **kwargs):
    cc_library(
        name = name,
        copts = _WARNINGS + copts,
        include_prefix = _INCLUDE_PREFIX + "/" + native.package_name(),
        **kwargs
    )

def hetero_cc_kernel_library(name, copts = [], **kwargs):
    """A library of production CPU kernels: compiled for speed in every compilation mode."""
    hetero_cc_library(name = name, copts = _KERNEL_COPTS + copts, **kwargs)

def _if_cuda(enabled, default = []):
    return select({
        str(Label("//third_party/cuda:enabled")): enabled,
        "//conditions:default": default,
    })

_NEEDS_CUDA = _if_cuda([], default = ["@platforms//:incompatible"])

def hetero_cuda_library(name, srcs = [], hdrs = [], deps = [], copts = [], testonly = False, visibility = None):
    """Device code: .cu files compiled by nvcc, headers included like those of hetero_cc_library.

    Skipped by //... unless --config=cuda. Links the CUDA runtime, statically.
    """
    if hdrs:
        hetero_cc_library(
            name = name + "_headers",
            testonly = testonly,
            hdrs = hdrs,
            target_compatible_with = _NEEDS_CUDA,
            deps = deps,
        )
        deps = deps + [":%s_headers" % name]
    cuda_library(
        name = name,
        testonly = testonly,
        srcs = srcs,
        copts = copts,
        target_compatible_with = _NEEDS_CUDA,
        visibility = visibility,
        deps = deps,
    )

def hetero_op_library(name, srcs, hdrs, cuda_srcs, deps, cuda_deps = [], copts = [], visibility = None):
    """An operation with a side for each kind of device; //tensor/ops:README.md shows its files.

    `cuda_srcs` and `cuda_deps` count with --config=cuda only. They see `hdrs` and `deps`.
    """
    hetero_cc_library(
        name = name + "_headers",
        hdrs = hdrs,
        deps = deps,
    )
    hetero_cuda_library(
        name = name + "_cuda",
        srcs = cuda_srcs,
        deps = deps + cuda_deps + [
            ":%s_headers" % name,
            str(Label("//tensor/ops:cuda_kernel")),
        ],
    )
    hetero_cc_kernel_library(
        name = name,
        srcs = srcs,
        copts = copts,
        local_defines = _if_cuda(["HETERO_CUDA"]),
        visibility = visibility,
        deps = deps + [
            ":%s_headers" % name,
            str(Label("//tensor/ops:dispatch")),
        ] + _if_cuda([":%s_cuda" % name]),
    )

def hetero_cc_binary(name, copts = [], **kwargs):
    cc_binary(
        name = name,
        copts = _WARNINGS + copts,
        **kwargs
    )

def hetero_cc_test(name, size, copts = [], deps = [], **kwargs):
    """A GoogleTest program; main() and gmock are linked in."""
    cc_test(
        name = name,
        size = size,
        copts = _WARNINGS + copts,
        deps = deps + ["@com_google_googletest//:gtest_main"],
        **kwargs
    )

def hetero_cuda_test(name, size, srcs, deps, num_gpus = 1):
    """A GoogleTest program that needs GPUs: --config=gpu runs it.

    Its cases are also a library, `name`_cases, for programs that hold the tests of many packages.
    """
    hetero_cc_library(
        name = name + "_cases",
        testonly = True,
        srcs = srcs,
        alwayslink = True,
        target_compatible_with = _NEEDS_CUDA,
        visibility = [str(Label("//tests/gpu:__pkg__"))],
        deps = deps + ["@com_google_googletest//:gtest"],
    )
    hetero_cc_test(
        name = name,
        size = size,
        tags = [
            "exclusive",
            "requires-gpu",
        ] + (["requires-gpu-%d" % num_gpus] if num_gpus > 1 else []),
        target_compatible_with = _NEEDS_CUDA,
        deps = [":%s_cases" % name],
    )

def hetero_cc_fuzz_test(name, corpus_folder, copts = [], deps = [], linkopts = [], **kwargs):
    """A test whose source defines LLVMFuzzerTestOneInput; it replays the files of `corpus_folder`.

    With --config=fuzz it looks for new failing inputs for ten seconds, starting from those files.
    """
    fuzzing = str(Label("//tools/build:fuzzing"))
    cc_test(
        name = name,
        size = "small",
        args = select({
            fuzzing: ["-max_total_time=10"],
            "//conditions:default": [],
        }) + ["%s/%s" % (native.package_name(), corpus_folder)],
        copts = _WARNINGS + copts,
        data = native.glob([corpus_folder + "/**"]),
        linkopts = linkopts + select({
            fuzzing: ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        deps = deps + select({
            fuzzing: [],
            "//conditions:default": [str(Label("//tools/build:fuzz_replay"))],
        }),
        **kwargs
    )

def hetero_cc_benchmark(name, copts = [], deps = [], tags = [], **kwargs):
    """A Google Benchmark program; main() is linked in. Built by //..., run by hand."""
    cc_binary(
        name = name,
        testonly = True,
        copts = _WARNINGS + copts,
        tags = tags + ["benchmark"],
        deps = deps + ["@com_github_google_benchmark//:benchmark_main"],
        **kwargs
    )
