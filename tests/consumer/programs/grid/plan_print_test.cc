// A launcher's dry look at a layout: which ranks talk to which, before any process is started.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "hetero/grid/grid.h"

namespace {

using hetero::GlobalRank;

int Fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  return EXIT_FAILURE;
}

}  // namespace

int main() {
  // Six encoder ranks as three lanes of two, and four language ranks: a layout of one hole.
  std::vector<hetero::GridSpec> specs = {
      {.name = "images", .num_ranks = 6, .tp = 2},
      {.name = "language", .num_ranks = 4, .tp = 2, .rank_offset = 8},
  };
  const auto broken = hetero::Validate(specs, /*world_size=*/12);
  for (const hetero::Violation& violation : broken) {
    std::printf("%s: %s\n", violation.field.c_str(), violation.ToString().c_str());
  }
  if (broken.empty()) return Fail("ranks 6 and 7 belong to no grid, yet the layout was accepted");

  specs[1].rank_offset = 6;
  const auto layout = hetero::Layout::Make(specs, /*world_size=*/10);
  if (!layout.ok()) return Fail(layout.status().ToString().c_str());
  std::printf("%s\n", layout->ToString().c_str());

  // Six samples of a microbatch, of 4 image rows each except the last, which has no image.
  const std::vector<std::int64_t> rows = {4, 4, 4, 4, 4, 0};
  const auto plan = hetero::PlanLeaderFunnel(hetero::LastStage(*layout->Find("images")),
                                             hetero::FirstStage(*layout->Find("language")), rows);
  if (!plan.ok()) return Fail(plan.status().ToString().c_str());
  std::int64_t sent = 0;
  for (std::int64_t rank = 0; rank < layout->world_size(); ++rank) {
    for (const hetero::RowTransfer& transfer : hetero::SendsOf(*plan, GlobalRank(rank))) {
      std::printf("rank %lld sends %lld rows to rank %lld\n",
                  static_cast<long long>(transfer.source.value()),
                  static_cast<long long>(transfer.num_rows),
                  static_cast<long long>(transfer.destination.value()));
      sent += transfer.num_rows;
    }
  }
  return sent == 20 ? EXIT_SUCCESS : Fail("rows were lost on the way");
}
