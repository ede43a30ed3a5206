#!/bin/bash
# In 400 MB of address space the program runs, or says that memory is missing (exit 7), and ends.
set -u
program=$1
if grep -qaE '__(a|t)san_init' "$program"; then
  echo "a sanitizer reserves terabytes of address space"
  exit 0
fi
(
  ulimit -v 400000
  timeout --signal=KILL 50 "$program" --recipe=mock_tiny --set train_steps=2 \
    --set logging.folder="$TEST_TMPDIR/runs"
)
code=$?
echo "exit code $code"
[ "$code" -eq 0 ] || [ "$code" -eq 7 ]
