#!/bin/bash
# The script of all runs on several GPUs, with programs that only print what the real ones would.
set -euo pipefail

script=$PWD/tests/gpu/several_gpus.sh
cd "$(mktemp -d)"
mkdir programs tools

cat >programs/runner <<'END'
#!/bin/bash
echo "[  PASSED  ] 3 tests."
[ -z "${SKIPS:-}" ] || echo "[  SKIPPED ] NcclCudaTest.One"
END
# Losses move by DRIFT on GPUs.
cat >programs/hetero <<'END'
#!/bin/bash
drift=0
case "$*" in *device=CUDA*) drift=${DRIFT:-0} ;; esac
case "$*" in *--dry_run*) echo "memory of 2 ranks: 1 MiB"; exit ;; esac
# A run that only a fault of its second process ends.
case "$*" in *train_steps=1000000*)
  (exec -a "rank 1 --set launch=processes:2" sleep 100) &
  echo " [now] iteration 1/ 1000000"
  while kill -0 $! 2>/dev/null && ! grep -q '^State:.*[TZ]' /proc/$!/status; do sleep 0.05; done
  kill -9 $! 2>/dev/null
  echo "error: rank ${CULPRIT:-1}: its process ended"
  exit 4 ;;
esac
if [ "${CUDA_VISIBLE_DEVICES:-}" = 0 ]; then
  case "$*" in *processes:2*)
    echo "error: ranks 0 and 1 have the same GPU, GPU-0; a process needs one, and theirs sees 1 GPU"
    exit 2 ;;
  esac
fi
for step in $(seq ${STEPS:-20}); do
  awk -v s="$step" -v d="$drift" 'BEGIN {
    printf " [now] iteration %8d/      20 | learning rate: 1E-04 | lm loss: %.6E | x\n", s, 6 - s / 100 + d }'
done
echo "RESULT steps=20 lm_loss=1"
END
cat >programs/communication <<'END'
#!/bin/bash
echo "a table"
END
cat >tools/nvidia-smi <<'END'
#!/bin/bash
for i in $(seq ${GPUS:-0}); do echo "GPU $i: one"; done
END
chmod +x programs/* tools/*
export PATH=$PWD/tools:$PATH

# run WANTED_CODE: the script with the environment's programs; its lines go to `lines`.
run() {
  local code=0
  "$script" programs >lines 2>&1 || code=$?
  [ "$code" -eq "$1" ] || { cat lines; echo "exit $code; expected $1"; exit 1; }
}
expect() { # COUNT PATTERN
  local count
  count=$(grep -cE "$2" lines || true)
  [ "$count" -eq "$1" ] || { cat lines; echo "$count lines of '$2'; expected $1"; exit 1; }
}

GPUS=4 run 0
expect 0 '^(FAIL|SKIP)'
expect 2 '^a table'

GPUS=2 run 0
expect 1 '^SKIP tp 2 \+ tp 2, f32, NCCL on 4 GPUs +needs 4 GPUs; there are 2'
expect 1 '^PASS tp 2, f32, NCCL on 2 GPUs +20 steps, at most 0 apart'
expect 1 '^PASS tp 2, a process for each of 2 GPUs +20 steps, at most 0 apart'
expect 2 '^PASS (KILL|STOP) of a process in a step'
expect 1 '^PASS two processes and one GPU'

GPUS=0 run 0
expect 0 '^(FAIL|PASS)'

GPUS=2 CULPRIT=0 run 1
expect 2 '^FAIL (KILL|STOP) of a process in a step'

GPUS=2 DRIFT=0.0002 run 1
expect 4 '^FAIL .*f32'
expect 1 '^PASS tp 2, bf16 against tp 1'

GPUS=2 SKIPS=1 run 1
expect 1 '^FAIL NCCL'

GPUS=2 STEPS=19 run 1
expect 1 '^FAIL tp 2, f32, NCCL on 2 GPUs +19 steps'
echo ok
