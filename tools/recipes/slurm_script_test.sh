#!/bin/bash
# A job's script starts the run again when it was told to stop or lost a rank, and else ends with
# the run's exit code. srun and scontrol are doubles of these two.
set -euo pipefail

script=$PWD/trainer/recipes/slurm/nemotron_54l_9n.sbatch
cd "$(mktemp -d)"
mkdir bin
cat >bin/srun <<'END'
#!/bin/bash
echo "$@" >>srun.txt
exit "$(cat code)"
END
cat >bin/scontrol <<'END'
#!/bin/bash
case $1 in
  show) echo first-host ;;
  requeue) echo "$2" >>requeued.txt ;;
esac
END
chmod +x bin/*
export PATH=$PWD/bin:$PATH SLURM_JOB_ID=7 SLURM_JOB_NODELIST=first-host HETERO=/hetero FOLDER=$PWD/run

# run EXIT_CODE WANTED_REQUEUES: of the run that ends so, from now on.
run() {
  local status=0
  echo "$1" >code
  rm -f requeued.txt
  bash "$script" --set seed=2 >>log.txt 2>&1 || status=$?
  local requeues=0
  [ ! -e requeued.txt ] || requeues=$(wc -l <requeued.txt)
  if [ "$requeues" -ne "$2" ] || { [ "$2" -eq 0 ] && [ "$status" -ne "$1" ]; }; then
    echo "exit code $1: the script ended with $status and $requeues requeues, wanted $2" >&2
    cat log.txt >&2
    exit 1
  fi
}

run 0 0
run 1 0
run 2 0
run 5 0
grep -qF -- '--recipe=nemotron_54l_9n --save='"$FOLDER"' --load=latest' srun.txt
grep -qF -- '--set seed=2' srun.txt

# Stops are no losses, however many.
for _ in 1 2 3 4 5 6 7; do run 6 1; done

# A rank that is lost: told by the others, killed, out of memory, or crashed.
run 4 1
run 137 1
run 134 1
run 139 1
run 4 0
grep -q 'ranks were lost 5 times with iteration none as the last saved' log.txt

# With every checkpoint the count begins anew.
echo 100 >"$FOLDER/latest_checkpointed_iteration.txt"
run 137 1
run 6 1

touch "$FOLDER/stop"
run 6 0
run 137 0
