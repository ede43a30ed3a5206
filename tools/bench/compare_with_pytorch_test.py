#!/usr/bin/env python3
"""Runs compare_with_pytorch.py on commands that only print."""

import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare_with_pytorch.py")


def compare(ours, peer, rounds=3):
    return subprocess.run(
        [sys.executable, SCRIPT, "--ours", ours, "--peer", peer, "--rounds", str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class CompareTest(unittest.TestCase):
    def test_pairs_the_rounds_and_alternates_who_is_first(self):
        with tempfile.TemporaryDirectory() as folder:
            order = os.path.join(folder, "order")
            result = compare(
                ours=f"printf o >> {order}; n=$(wc -c < {order}); echo RESULT steps=120 seconds=1000 train_seconds=$n",
                peer=f"printf p >> {order}; echo steps/s 1.0; echo 'steps/s 10.0 samples/s 640.0'",
            )
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(order) as file:
                self.assertEqual(file.read(), "oppoop")
        # Our seconds are the number of runs begun: 1, 4, 5.
        self.assertIn("round 2 ours 30.000 steps/s peer 10.000 steps/s ratio 3.000", result.stdout)
        self.assertIn("ours steps/s median 30.000 min 24.000 max 120.000\n", result.stdout)
        self.assertIn("peer steps/s median 10.000 min 10.000 max 10.000\n", result.stdout)
        self.assertIn("ratio ours/peer median 3.000 min 2.400 max 12.000\n", result.stdout)

    def test_seconds_serve_without_train_seconds(self):
        result = compare("echo RESULT steps=10 seconds=4 lm_loss=0.5", "echo steps/s 5", rounds=1)
        self.assertIn("ratio 0.500", result.stdout)

    def test_failures_show_the_command_and_its_output(self):
        for ours, reason in [
            ("echo out of memory; exit 3", "exit code 3"),
            ("echo out of memory", "RESULT"),
            ("echo out of memory; echo RESULT steps=3", "train_seconds"),
        ]:
            result = compare(ours, "echo steps/s 5")
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(reason, result.stderr)
            self.assertIn("out of memory", result.stderr)


if __name__ == "__main__":
    unittest.main()
