#!/usr/bin/env python3
"""Tests that each kind of variable that can change is found in what a compiler made, and no other."""

import os
import subprocess
import tempfile
import unittest

import check_globals

_SOURCE = """
#include <atomic>
#include <iostream>
#include <string>
#include <string_view>

struct Base { virtual int Get() const = 0; virtual ~Base() = default; };
struct One : Base { int Get() const override { return 1; } };

namespace {
int hidden = 3;
const std::string made_at_the_start(40, 'x');
constexpr std::string_view kText = "text";
const char* const kTexts[] = {"a", "b"};
}  // namespace

int shown;
std::atomic<long> counter = 1;
thread_local int of_a_thread = 2;
extern const int kNumber = 4;

inline int& Inline() {
  static int in_an_inline_function = 5;
  return in_an_inline_function;
}

int Use(const Base& base, int i) {
  static int calls;
  static const std::string* const never_again = new std::string("z");
  std::cout << kText << kTexts[i] << *never_again << made_at_the_start;
  return ++calls + ++hidden + ++shown + ++of_a_thread + base.Get() + ++Inline();
}
const Base& MakeOne() { static const Base& one = *new One; return one; }
"""


class CheckGlobalsTest(unittest.TestCase):
    def test_what_can_change_is_found_wherever_it_is_declared(self):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "source.cc")
            with open(source, "w", encoding="utf-8") as file:
                file.write(_SOURCE)
            made = os.path.join(folder, "source.o")
            subprocess.run(["g++", "-std=c++20", "-O2", "-fPIC", "-c", source, "-o", made], check=True)
            archive = os.path.join(folder, "archive.a")
            subprocess.run(["ar", "rcs", archive, made], check=True)
            found = check_globals.read_archives([archive])
        self.assertEqual(
            {variable.name for variable in found},
            {
                "(anonymous namespace)::hidden",
                "(anonymous namespace)::made_at_the_start",
                "Inline()::in_an_inline_function",
                "MakeOne()::one",
                "Use(Base const&, int)::calls",
                "Use(Base const&, int)::never_again",
                "counter",
                "of_a_thread",
                "shown",
            },
        )
        self.assertEqual({variable.member for variable in found}, {"source.o"})
        self.assertEqual(len(list(check_globals.violations(found))), len(found))

    def test_what_belongs_to_the_process_passes(self):
        found = [check_globals.Variable("x.o", ".bss", name) for name in check_globals.ALLOWED]
        self.assertEqual(list(check_globals.violations(found)), [])


if __name__ == "__main__":
    unittest.main()
