#!/bin/bash
# Who waits for another preparation is told for whom, at once, also where output goes to a file.
set -u
program=$PWD/$1
cd "$TEST_TMPDIR" || exit 1
exec 9> set.lock
flock 9
echo "process 7 on mars" >&9
"$program" --output=set > log 2>&1 9>&- &
for ((i = 0; i < 100; ++i)); do
  grep -q "waiting for process 7 on mars" log && break
  sleep 0.1
done
cat log
grep -q "waiting for process 7 on mars" log || exit 1
kill -TERM $!
wait $!
code=$?
echo "exit code $code"
[ "$code" -eq 6 ]
