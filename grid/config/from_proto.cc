#include "hetero/grid/config/from_proto.h"

#include <cstdint>

namespace hetero {

GridSpec FromProto(const proto::GridSpec& message) {
  const auto or_one = [](bool has, int64_t value) { return has ? value : 1; };
  return {.name = message.name(),
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

}  // namespace hetero
