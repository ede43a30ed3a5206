#!/bin/bash
# All runs on several GPUs, for a machine without Bazel:
#
#   several_gpus.sh FOLDER [RECORDS]
#
# FOLDER has the built programs `runner` (//tests/gpu:runner), `hetero` (//trainer:hetero) and
# `communication` (//tools/bench:communication); `.stripped` behind a name is fine. What they print
# goes to files in RECORDS, else to a temporary folder. Prints a line for each case, PASS, FAIL or
# SKIP with what was seen, and then the benchmark's table. Exits with 1 if a case failed; a case that
# needs more GPUs than there are is skipped.
set -uo pipefail

folder=$(cd "${1:?the folder of the programs}" && pwd)
records=${2:-$(mktemp -d)}
mkdir -p "$records"
records=$(cd "$records" && pwd)
num_gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
failures=0

program() {
  local name=$1
  [ -x "$folder/$name" ] || name=$1.stripped
  echo "$folder/$name"
}

# verdict STATUS CASE SEEN
verdict() {
  printf '%-4s %-44s %s\n' "$1" "$2" "$3"
  if [ "$1" = FAIL ]; then failures=$((failures + 1)); fi
}

# enough GPUS CASE: whether there are as many; says so if not.
enough() {
  [ "$num_gpus" -ge "$1" ] && return 0
  verdict SKIP "$2" "needs $1 GPUs; there are $num_gpus"
  return 1
}

# tests CASE FILTER: tests of the runner, none of which may be skipped.
tests() {
  local log="$records/${1// /_}.txt" passed
  timeout 200 "$(program runner)" --gtest_filter="$2" >"$log" 2>&1
  local code=$?
  passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log")
  if [ $code -eq 0 ] && [ "${passed:-0}" -gt 0 ] && ! grep -q '^\[  SKIPPED \]' "$log"; then
    verdict PASS "$1" "$passed tests"
  else
    verdict FAIL "$1" "exit $code, ${passed:-0} tests passed; see $log"
  fi
}

# train LOG ARGUMENTS: a run of 20 steps with a line a step. A run that ends has taken the memory of
# its dry run, label by label, and called its collectives.
train() {
  local log="$records/$1.txt" code
  shift
  (cd "$(mktemp -d)" && timeout 150 "$(program hetero)" --recipe=mock_vlm_tiny \
    --set train_steps=20 --set evaluation.num_batches=1 --set logging.console_interval_steps=1 \
    "$@") >"$log" 2>&1
  code=$?
  [ $code -eq 0 ] || { echo "exit $code, $log ends with:" && tail -n 5 "$log" | cut -c 1-400; }
}

# losses LOG: "step loss" lines.
losses() {
  sed -nE 's/.* iteration +([0-9]+)\/.* lm loss: ([0-9.E+-]+).*/\1 \2/p' "$records/$1.txt"
}

# compare CASE LOG_A LOG_B BOUND: 20 losses each, none further apart.
compare() {
  local seen
  seen=$(paste -d ' ' <(losses "$2") <(losses "$3") | awk -v bound="$4" '
    NF != 4 || $1 != $3 { bad = 1 }
    { d = $2 - $4; if (d < 0) d = -d; if (!(d <= largest)) largest = d; last = $2 " and " $4; n++ }
    END {
      printf "%d steps, at most %.3g apart (bound %g), at the end %s", n, largest, bound, last
      exit !(n == 20 && !bad && largest <= bound)
    }')
  if [ $? -eq 0 ]; then verdict PASS "$1" "$seen"; else verdict FAIL "$1" "$seen"; fi
}

ranks() { # COUNT LANGUAGE_OFFSET [threads|processes]
  echo "--set launch=${3:-threads}:$(($1 + $2)) --set radio_encoder.num_ranks=$1" \
    "--set radio_encoder.rank_offset=0 --set language.num_ranks=$1 --set language.rank_offset=$2"
}
tp2="--set radio_encoder.tp=2 --set language.tp=2"
ep2="--set language.ep=2"

# like_the_cpu GPUS NAME ARGUMENTS: in f32 on as many GPUs, 0: all ranks on the first.
like_the_cpu() {
  local gpus=$1 name=$2 log=${2//[ ,]/_}
  shift 2
  local where="NCCL on $gpus GPUs" visible
  visible=$(seq -s, 0 $((gpus - 1)))
  if [ "$gpus" -eq 0 ]; then where="sharing a GPU" visible=0; fi
  enough $((gpus > 0 ? gpus : 1)) "$name, f32, $where" || return
  [ -s "$records/cpu_$log.txt" ] || train "cpu_$log" "$@"
  CUDA_VISIBLE_DEVICES=$visible train "f32_${gpus}_$log" "$@" --set device=CUDA
  compare "$name, f32, $where" "f32_${gpus}_$log" "cpu_$log" 1e-4
}

# like_threads GPUS NAME ARGUMENTS: a process for each GPU, in f32, to the last digit as threads.
like_threads() {
  local gpus=$1 name=$2 log=${2//[ ,]/_}
  shift 2
  local case="$name, a process for each of $gpus GPUs" visible
  visible=$(seq -s, 0 $((gpus - 1)))
  enough "$gpus" "$case" || return
  CUDA_VISIBLE_DEVICES=$visible train "processes_${gpus}_$log" "$@" --set device=CUDA
  compare "$case" "processes_${gpus}_$log" "f32_${gpus}_$log" 0
}

# newest TEXT: the process started last that has it in its command line. A bare Debian has no pgrep.
newest() {
  local folder
  for folder in /proc/[0-9]*; do
    tr '\0' ' ' 2>/dev/null <"$folder/cmdline" | grep -qF -- "$1" &&
      echo "$(sed 's/.*) //' "$folder/stat" | cut -d ' ' -f 20) ${folder#/proc/}"
  done 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2
}

# fault SIGNAL: of one of two processes in a step; all are gone within 10 s, with its name.
fault() {
  local case="$1 of a process in a step" log="$records/fault_$1.txt" launcher rank start seconds code
  enough 2 "$case" || return
  (cd "$(mktemp -d)" && exec timeout 150 "$(program hetero)" --recipe=mock_vlm_tiny \
    $(ranks 2 0 processes) $tp2 --set device=CUDA --set train_steps=1000000 \
    --set logging.console_interval_steps=1 --set collective_timeout_seconds=2) >"$log" 2>&1 &
  launcher=$!
  for _ in $(seq 600); do
    grep -q ' iteration ' "$log" && break
    sleep 0.1
  done
  rank=$(newest launch=processes:2)
  start=$(date +%s.%N)
  kill -s "$1" "$rank"
  wait "$launcher"
  code=$?
  seconds=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
  if [ $code -eq 4 ] && awk -v s="$seconds" 'BEGIN { exit !(s < 10) }' &&
    tail -n 1 "$log" | grep -q '^error: rank 1'; then
    verdict PASS "$case" "$seconds s, $(tail -n 1 "$log" | cut -c 1-100)"
  else
    verdict FAIL "$case" "exit $code after $seconds s; see $log"
  fi
}

# A process needs a GPU of its own.
one_gpu() {
  local case="two processes and one GPU" log="$records/one_gpu.txt" code
  enough 1 "$case" || return
  (cd "$(mktemp -d)" && CUDA_VISIBLE_DEVICES=0 timeout 100 "$(program hetero)" \
    --recipe=mock_vlm_tiny $(ranks 2 0 processes) --set device=CUDA) >"$log" 2>&1
  code=$?
  if [ $code -eq 2 ] && grep -q 'ranks 0 and 1 have the same GPU.*sees 1 GPU' "$log"; then
    verdict PASS "$case" "$(tail -n 1 "$log" | cut -c 1-100)"
  else
    verdict FAIL "$case" "exit $code; see $log"
  fi
}

# memory GPUS NAME ARGUMENTS: what the dry run says, and that the run of like_the_cpu ended.
memory() {
  local gpus=$1 name=$2 log=${2//[ ,]/_} said
  shift 2
  enough "$gpus" "$name, memory as in the dry run" || return
  train "dry_$log" "$@" --set device=CUDA --dry_run
  said=$(grep '^memory of' "$records/dry_$log.txt")
  if [ -n "$said" ] && grep -q '^RESULT steps=20 ' "$records/f32_${gpus}_$log.txt"; then
    verdict PASS "$name, memory as in the dry run" "$said"
  else
    verdict FAIL "$name, memory as in the dry run" "${said:-no dry run}; see $records"
  fi
}

echo "$num_gpus GPUs"
if enough 1 "queues beside a stream"; then
  tests "queues beside a stream" 'SideStreamCudaTest.*'
fi
if enough 2 "NCCL"; then tests "NCCL" 'NcclCudaTest.*'; fi
if enough 2 "overlap changes no bit, NCCL"; then
  tests "overlap changes no bit, NCCL" 'OverlapCudaTest.*'
fi

if enough 2 "gradients and parameters under layers"; then
  tests "gradients and parameters under layers" 'TraceCudaTest.*'
  sed -nE '/^rank [0-9]+: of |wait for |^beside|reduce_scatter|all_gather/p' \
    "$records/gradients_and_parameters_under_layers.txt"
fi

like_the_cpu 2 "tp 2" $(ranks 2 0) $tp2
like_the_cpu 2 "ep 2" $(ranks 2 0) $ep2
like_the_cpu 4 "tp 2 + tp 2" $(ranks 2 2) $tp2
like_the_cpu 0 "tp 2 + tp 2" $(ranks 2 2) $tp2
like_the_cpu 0 "ep 2 of four" $(ranks 2 2) $ep2

like_threads 2 "tp 2" $(ranks 2 0 processes) $tp2
like_threads 2 "ep 2" $(ranks 2 0 processes) $ep2
like_threads 4 "tp 2 + tp 2" $(ranks 2 2 processes) $tp2
for signal in KILL STOP; do fault $signal; done
one_gpu

if enough 2 "tp 2, bf16 against tp 1"; then
  train bf16_tp2 $(ranks 2 0) $tp2 --set device=CUDA --set precision=BF16
  train bf16_tp1 --set launch=threads:1 --set language.rank_offset=0 --set device=CUDA \
    --set precision=BF16
  compare "tp 2, bf16 against tp 1" bf16_tp2 bf16_tp1 3e-2
fi
if enough 2 "tp 2, bf16 again, to the bit"; then
  train bf16_tp2_again $(ranks 2 0) $tp2 --set device=CUDA --set precision=BF16
  compare "tp 2, bf16 again, to the bit" bf16_tp2_again bf16_tp2 0
fi

memory 2 "tp 2" $(ranks 2 0) $tp2
memory 2 "ep 2" $(ranks 2 0) $ep2

for count in 2 4; do
  name="communication of layers on $count GPUs"
  enough $count "$name" || continue
  if timeout 200 "$(program communication)" --ranks=$count >"$records/communication_$count.txt" 2>&1
  then
    verdict PASS "$name" "measured:"
  else
    verdict FAIL "$name" "exit $?"
  fi
  cat "$records/communication_$count.txt"
done

echo "$failures failed; records in $records"
[ "$failures" -eq 0 ]
