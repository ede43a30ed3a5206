#!/usr/bin/env python3
"""Checks that archives define no variable that the program can change.

usage: check_globals.py ARCHIVE...

Prints each variable of static storage or of a thread that lies in writable memory, function-local
ones included, unless it is in ALLOWED. Exits with 1 if there is any, or nothing was read.
"""

import collections
import os
import re
import subprocess
import sys

Variable = collections.namedtuple("Variable", ["member", "section", "name"])

# What belongs to the process and not to a run -> why it has no other place.
ALLOWED = {
    # A handler of signals has no argument; whoever has main() makes the one StopSignals.
    "hetero::(anonymous namespace)::first_interrupt_ns": "signals",
    "hetero::(anonymous namespace)::first_terminate_ns": "signals",
    "hetero::(anonymous namespace)::installed": "signals",
    "hetero::(anonymous namespace)::received_signal": "signals",
    # Nor has a handler of std::terminate or of new; main() sets both, once.
    "hetero::(anonymous namespace)::previous_terminate": "handlers of the language",
    "hetero::(anonymous namespace)::reserve": "handlers of the language",
    # Open files are the process's: its data sets share how many there may be, whoever opens them.
    "hetero::data::(anonymous namespace)::num_pools": "descriptors",
    # oneDNN has one choice of instructions and one store of generated code, OpenMP one number of
    # threads for each thread: done at the first product, the same whoever asks.
    "hetero::cpu::PrepareProducts()::alone": "oneDNN",
    "hetero::cpu::PrepareProducts()::generated": "oneDNN",
    "hetero::internal::ChooseTargetOfProducts()::once": "oneDNN",
}

# Memory that is written to: relocated constants (.data.rel.ro) are read-only once the program runs.
_WRITABLE = re.compile(r"^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)")

# What is not ours: pointers for exceptions, a flag beside each function-local static, the object of
# <iostream>, what sanitizers keep and what nvcc registers kernels with.
_COMPILERS = (
    "DW.ref.",
    "TLS init function for ",
    "__cudaFatCubinHandle",
    "__device_stub__",
    "__nv_",
    "__odr_asan",
    "__tls_guard",
    "guard variable for ",
    "std::__ioinit",
)

_MEMBER = re.compile(r"^Symbols from .*\[(.*)\]:$")


def variables(lines):
    """The variables in writable memory of a listing of `nm --format=sysv --demangle`."""
    member = ""
    for line in lines:
        header = _MEMBER.match(line)
        if header:
            member = header.group(1)
            continue
        fields = [field.strip() for field in line.rsplit("|", 6)]
        if len(fields) != 7 or fields[3] not in ("OBJECT", "TLS", "NOTYPE"):
            continue
        name, section = fields[0], fields[6]
        if _WRITABLE.match(section) and not name.startswith(_COMPILERS):
            yield Variable(member, section, name)


def violations(found):
    """A line for each that is not in ALLOWED."""
    for variable in sorted(set(found)):
        if variable.name not in ALLOWED:
            yield f"{variable.member}: {variable.name} can change ({variable.section})"


def read_archives(paths):
    """The variables in writable memory of archives."""
    listing = subprocess.run(
        ["nm", "--format=sysv", "--defined-only", "--demangle", *paths],
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        text=True,
    )
    return list(variables(listing.stdout.splitlines()))


def main():
    found = read_archives(sys.argv[1:])
    wrong = list(violations(found))
    for line in wrong:
        print(line)
    print(f"{len(sys.argv) - 1} archives, {len(found)} variables, {len(wrong)} violations")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
