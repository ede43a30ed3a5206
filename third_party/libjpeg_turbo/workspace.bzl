"""libjpeg-turbo: jpeglib.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @libjpeg_turbo//:jpeg unless the workspace has its own."""
    if native.existing_rule("libjpeg_turbo") != None:
        return
    installed_package(
        name = "libjpeg_turbo",
        headers = [
            "jconfig.h",
            "jerror.h",
            "jmorecfg.h",
            "jpeglib.h",
        ],
        linkopts = ["-ljpeg"],
        package = "libjpeg62-turbo-dev",
        target = "jpeg",
    )
