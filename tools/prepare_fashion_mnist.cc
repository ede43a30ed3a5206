// Converts Fashion-MNIST into WebDataset shards with Megatron-Energon metadata.
//
//   bazel run //tools:prepare_fashion_mnist -- --output=/data/fashion_mnist

#include <cstdio>
#include <filesystem>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/data/fashion_mnist.h"

ABSL_FLAG(std::string, source, "/usr/share/datasets/fashion-mnist",
          "Folder of the four .gz files of Fashion-MNIST.");
ABSL_FLAG(std::string, output, "", "Folder to create; its parents are created too.");

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Prepares Fashion-MNIST as a captioning data set.");
  absl::ParseCommandLine(argc, argv);
  const std::filesystem::path output = absl::GetFlag(FLAGS_output);
  if (output.empty()) {
    std::fputs("--output is not set; name the folder to create\n", stderr);
    return 2;
  }
  const absl::StatusOr<hetero::data::FashionMnistReport> report =
      hetero::data::PrepareFashionMnist({.source = absl::GetFlag(FLAGS_source), .output = output});
  if (!report.ok()) {
    std::fputs(absl::StrCat(report.status().ToString(), "\n").c_str(), stderr);
    return 1;
  }
  if (report->was_ready) {
    std::puts(absl::StrCat(output.native(), " is already prepared").c_str());
    return 0;
  }
  for (const std::string& warning : report->prepared.warnings) std::puts(warning.c_str());
  for (const auto& excluded : report->prepared.excluded) {
    std::puts(absl::StrCat("excluded ", excluded.sample, ": ", excluded.reason).c_str());
  }
  std::puts(absl::StrCat(output.native(), ": ", report->prepared.num_samples, " samples in ",
                         report->prepared.num_shards, " shards, ", report->prepared.excluded.size(),
                         " excluded")
                .c_str());
  return 0;
}
