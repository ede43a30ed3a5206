"""SQLite: sqlite3.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @sqlite3//:sqlite3 unless the workspace has its own."""
    if native.existing_rule("sqlite3") != None:
        return
    installed_package(
        name = "sqlite3",
        headers = [
            "sqlite3.h",
            "sqlite3ext.h",
        ],
        linkopts = ["-lsqlite3"],
        package = "libsqlite3-dev",
        target = "sqlite3",
    )
