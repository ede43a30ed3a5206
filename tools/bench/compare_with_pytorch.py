#!/usr/bin/env python3
"""Compares training speed with a peer program, the two taking turns on one machine.

    tools/bench/compare_with_pytorch.py --rounds 5 \\
        --ours "bazel-bin/trainer/hetero --set train_steps=200" \\
        --peer "VENV/bin/python tools/bench/fashion_tiny_pytorch.py --start FILE --steps 200"

Ours prints a last line "RESULT steps=N ... train_seconds=S" (or seconds=S), the peer a line with
"steps/s X". Rounds alternate which of the two goes first, so that a machine that warms up, slows
down or has other work favours neither. The ratio is ours / peer within each round.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys

_RESULT = re.compile(r"^RESULT (.*)$", re.MULTILINE)
_STEPS_PER_SECOND = re.compile(r"\bsteps/s[ =:]+([0-9][0-9.e+-]*)")
_TAIL_LINES = 20


def our_speed(output):
    """Returns steps/s of the last RESULT line; ValueError if there is none."""
    results = _RESULT.findall(output)
    if not results:
        raise ValueError("no line starts with RESULT")
    fields = dict(field.split("=", 1) for field in results[-1].split() if "=" in field)
    seconds = fields.get("train_seconds", fields.get("seconds"))
    if "steps" not in fields or seconds is None:
        raise ValueError(f"the RESULT line has no steps, or neither train_seconds nor seconds: {results[-1]}")
    return float(fields["steps"]) / float(seconds)


def peer_speed(output):
    """Returns the last steps/s printed; ValueError if there is none."""
    speeds = _STEPS_PER_SECOND.findall(output)
    if not speeds:
        raise ValueError('no line has "steps/s X"')
    return float(speeds[-1])


def run(name, command, speed):
    process = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    problem = None
    if process.returncode != 0:
        problem = f"exit code {process.returncode}"
    else:
        try:
            return speed(process.stdout)
        except ValueError as error:
            problem = str(error)
    tail = "\n".join(process.stdout.splitlines()[-_TAIL_LINES:])
    sys.exit(f"{name}: {problem}\n  command: {command}\n{tail}")


def machine():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{len(os.sched_getaffinity(0))} x {model}"


def spread(values):
    return f"median {statistics.median(values):.3f} min {min(values):.3f} max {max(values):.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, metavar="COMMAND")
    parser.add_argument("--peer", required=True, metavar="COMMAND")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: at least 1")

    print(f"machine {machine()}\nours {args.ours}\npeer {args.peer}", flush=True)
    sides = {"ours": (args.ours, our_speed), "peer": (args.peer, peer_speed)}
    speeds = {"ours": [], "peer": []}
    for number in range(args.rounds):
        load = os.getloadavg()[0]
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            speeds[name].append(run(name, *sides[name]))
        ours, peer = speeds["ours"][-1], speeds["peer"][-1]
        print(
            f"round {number + 1} ours {ours:.3f} steps/s peer {peer:.3f} steps/s ratio {ours / peer:.3f}"
            f" load before {load:.2f}",
            flush=True,
        )
    print(f"ours steps/s {spread(speeds['ours'])}")
    print(f"peer steps/s {spread(speeds['peer'])}")
    print(f"ratio ours/peer {spread([o / p for o, p in zip(speeds['ours'], speeds['peer'])])}")


if __name__ == "__main__":
    main()
