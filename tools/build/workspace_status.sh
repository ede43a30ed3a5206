#!/bin/sh
# The commit for --version, under the names that Bazel hands to linked programs; it runs this before
# every build. It never fails: a checkout without git, or a machine without it, has no commit.
commit=$(git rev-parse --verify --quiet HEAD 2>/dev/null) || exit 0
echo "BUILD_SCM_REVISION $commit"
if git --no-optional-locks diff --quiet HEAD 2>/dev/null; then
  echo "BUILD_SCM_STATUS Clean"
else
  echo "BUILD_SCM_STATUS Modified"
fi
