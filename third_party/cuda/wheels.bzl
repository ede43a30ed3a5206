"""NVIDIA's wheels as repositories: fetched by hash, unpacked, never installed."""

# The frontend's wheel is built for each version of Python and holds the same headers in all.
_PLATFORM = [
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=none",
    "--platform=any",
] + ["--platform=manylinux_2_%d_x86_64" % glibc for glibc in [17, 18, 24, 27, 28]] + [
    "--platform=manylinux2014_x86_64",
]

def _run(ctx, what, arguments, **kwargs):
    result = ctx.execute(arguments, timeout = 3600, **kwargs)
    if result.return_code != 0:
        fail("%s: %s: %s%s" % (ctx.name, what, result.stdout[-2000:], result.stderr[-2000:]))

def _cuda_wheels_impl(ctx):
    folder = ctx.os.environ.get("CUDA_WHEEL_DIR", "")
    source = ["--no-index", "--find-links=" + folder] if folder else []
    _run(
        ctx,
        "python3 -m pip download (package python3-pip; CUDA_WHEEL_DIR may name a folder of wheels)",
        ["python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"] + source + [
            "--dest=wheels",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
        ] + _PLATFORM + ["-r", ctx.path(ctx.attr.requirements)],
    )
    wheels = [str(wheel) for wheel in ctx.path("wheels").readdir()]
    _run(ctx, "unpack", ["python3", ctx.path(ctx.attr._unpack), "."] + wheels)
    ctx.delete("wheels")
    ctx.symlink(ctx.attr.build_file, "BUILD")

cuda_wheels = repository_rule(
    implementation = _cuda_wheels_impl,
    attrs = {
        "build_file": attr.label(mandatory = True),
        "requirements": attr.label(
            mandatory = True,
            doc = "Lines `name==version --hash=sha256:...`.",
        ),
        "_unpack": attr.label(default = "//third_party/cuda:unpack_wheels.py"),
    },
    environ = ["CUDA_WHEEL_DIR"],
)
