#include "hetero/grid/from_proto.h"

#include "absl/strings/str_cat.h"

namespace hetero {

GridSpec FromProto(std::string_view name, const proto::GridSpec& message) {
  const auto or_one = [](bool has, int64_t value) { return has ? value : 1; };
  return {.name = std::string(name),
          .num_ranks = message.num_ranks(),
          .tp = or_one(message.has_tp(), message.tp()),
          .cp = or_one(message.has_cp(), message.cp()),
          .pp = or_one(message.has_pp(), message.pp()),
          .ep = or_one(message.has_ep(), message.ep()),
          .gtp_remat = or_one(message.has_gtp_remat(), message.gtp_remat()),
          .rank_offset = message.rank_offset(),
          .expt_tp = or_one(message.has_expt_tp(), message.expt_tp()),
          .expt_gtp_remat = or_one(message.has_expt_gtp_remat(), message.expt_gtp_remat())};
}

std::vector<Violation> MissingNumbers(std::string_view name, const proto::GridSpec& message) {
  std::vector<Violation> violations;
  const auto require = [&](bool has, std::string_view field, std::string_view what) {
    if (has) return;
    const std::string path = absl::StrCat(name, ".", field);
    violations.push_back({path, absl::StrCat(path, " is not set; give ", what)});
  };
  require(message.has_num_ranks(), "num_ranks", "the number of ranks of the module");
  require(message.has_rank_offset(), "rank_offset", "the module's first rank");
  return violations;
}

}  // namespace hetero
