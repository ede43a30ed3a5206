#!/bin/bash
# Every recipe of many nodes is proved by its dry run, in seconds and with little memory, and its
# script for Slurm is one.
set -euo pipefail

hetero=$PWD/trainer/hetero
scripts=$PWD/trainer/recipes/slurm
cd "$(mktemp -d)"

count=0
for script in "$scripts"/*.sbatch; do
  bash -n "$script"
  recipe=$(basename "$script" .sbatch)
  timeout 60 "$hetero" --recipe="$recipe" --dry_run >"$recipe"
  grep -q '^proved, whatever the speed of each rank:' "$recipe"
  grep -q "recipe=$recipe " "$script"
  count=$((count + 1))
done
[ "$count" -ge 8 ]
echo "$count recipes"
