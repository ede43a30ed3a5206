// How much of a layer's communication is exposed, for layers of the 20-layer preset on GPUs:
//   communication --ranks=2

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/statusor.h"
#include "hetero/tools/bench/exposed.h"
#include "hetero/tools/bench/sizes.h"

ABSL_FLAG(std::string, device, "cuda", "cuda (bf16, NCCL) or cpu (f32, threads)");
ABSL_FLAG(std::string, sizes, "20L", "20L: the 20-layer preset; tiny: for a CPU");
ABSL_FLAG(int64_t, ranks, 2, "that share a layer, a GPU each");
ABSL_FLAG(int, samples, 15, "samples of a case");
ABSL_FLAG(int, calls, 10, "forward and backward of a layer in a sample");

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "times layers that ranks share, with their communication and without");
  absl::ParseCommandLine(argc, argv);
  const std::string device = absl::GetFlag(FLAGS_device), sizes = absl::GetFlag(FLAGS_sizes);
  const hetero::bench::ExposedOptions options = {.on_gpus = device == "cuda",
                                                 .num_ranks = absl::GetFlag(FLAGS_ranks),
                                                 .samples = absl::GetFlag(FLAGS_samples),
                                                 .calls = absl::GetFlag(FLAGS_calls)};
  if ((device != "cuda" && device != "cpu") || (sizes != "20L" && sizes != "tiny") ||
      options.num_ranks < 2 || options.samples < 1 || options.calls < 1) {
    std::cerr << "--device is cuda or cpu, --sizes 20L or tiny, --ranks at least 2, --samples and "
                 "--calls at least 1\n";
    return EXIT_FAILURE;
  }
  const absl::StatusOr<std::vector<hetero::bench::ExposedRow>> rows = hetero::bench::MeasureExposed(
      sizes == "tiny" ? hetero::bench::Tiny() : hetero::bench::Nemotron20L(), options);
  if (!rows.ok()) {
    std::cerr << rows.status() << "\n";
    return EXIT_FAILURE;
  }
  std::cout << hetero::bench::ToText(*rows);
}
