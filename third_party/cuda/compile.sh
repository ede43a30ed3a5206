#!/bin/sh
# Runs nvcc. The assembler only advises when it gives up on asynchronous matrix products (C7510 to
# C7515) or on moving registers between warps (C7508); such a kernel is many times slower, so it is
# an error.
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$@" 2>"$log"
status=$?
cat "$log" >&2
if grep -qE '\(?C75(08|1[0-5])\)?' "$log"; then
  echo "compile.sh: the advice above counts as an error" >&2
  exit 1
fi
exit "$status"
