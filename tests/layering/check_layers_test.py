#!/usr/bin/env python3
"""Tests that each kind of forbidden edge is found and named."""

import unittest

import check_layers


def found(*edges):
    return check_layers.violations(
        check_layers.read_edges(f'  "{source}" -> "{target}"\n' for source, target in edges)
    )


class CheckLayersTest(unittest.TestCase):
    def test_arrows_down_the_table_pass(self):
        self.assertEqual(
            found(
                ("//optim:adamw", "//comm:communicator"),
                ("//comm:communicator", "//comm:communicator.h"),
                ("//models/vlm:vlm", "//tensor/ops/gemm:gemm"),
                ("//grid:grid_test", "@com_google_googletest//:gtest_main"),
                ("//tools/build:fuzz", "//third_party/cuda:enabled"),
                ("//tensor/ops/gemm:gemm", "@onednn//:onednn"),
            ),
            [],
        )

    def test_an_arrow_up_is_named(self):
        (violation,) = found(("//grid:view", "//comm:communicator"))
        self.assertIn("//grid:view -> //comm:communicator: grid may use base", violation)

    def test_a_folder_whose_name_starts_alike_is_another_folder(self):
        (violation,) = found(("//data:loader", "//tools/builder:x"))
        self.assertIn("//tools/builder:x", violation)

    def test_nothing_uses_tests(self):
        self.assertEqual(len(found(("//trainer:loop", "//tests/convergence:x"))), 1)

    def test_a_backend_named_by_the_wrong_folder(self):
        (violation,) = found(("//models/blocks:linear", "@onednn//:onednn"))
        self.assertIn("only tensor may use @onednn//", violation)

    def test_tests_alone_may_ask_whether_there_are_devices(self):
        question = "//third_party/cuda:enabled"
        self.assertEqual(found(("//optim:x_cuda_test_cases", question)), [])
        self.assertEqual(len(found(("//optim:adamw", question))), 1)
        self.assertEqual(len(found(("//optim:adamw_test", "//third_party/cuda:cudart"))), 1)

    def test_what_the_oldest_abseil_lacks_is_for_tests(self):
        matchers = "@com_google_absl//absl/status:status_matchers"
        self.assertEqual(found(("//grid:view_test", matchers)), [])
        self.assertEqual(len(found(("//grid:view", matchers), ("//grid:example", matchers))), 2)

    def test_a_chain_to_a_backend_is_printed_whole(self):
        (violation,) = found(
            ("//grid:grid", "//grid:view"),
            ("//grid:view", "@com_google_absl//absl/x:x"),
            ("@com_google_absl//absl/x:x", "@com_google_protobuf//:protobuf"),
        )
        self.assertTrue(
            violation.endswith(
                "//grid:grid -> //grid:view -> @com_google_absl//absl/x:x"
                " -> @com_google_protobuf//:protobuf"
            )
        )

    def test_a_folder_s_tests_may_pull_in_more_than_its_libraries(self):
        ranks = ("//comm:run_ranks", "//comm/threads:threads")
        self.assertEqual(found(ranks, ("//optim:adamw_test", "//comm:run_ranks")), [])
        (violation,) = found(ranks, ("//optim:adamw", "//comm:run_ranks"))
        self.assertIn("//optim:adamw -> //comm:run_ranks -> //comm/threads:threads", violation)


if __name__ == "__main__":
    unittest.main()
