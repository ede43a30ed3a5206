#include "hetero/comm/nccl/nccl_process.h"

#include <utility>

#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_ranks.h"
#include "hetero/comm/nccl/nccl_rendezvous.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclProcess(Rendezvous& rendezvous,
                                                             Device device) {
  HETERO_ASSIGN_OR_RETURN(auto run, internal::NcclRendezvous::Create(rendezvous));
  return internal::NcclRanks::Start(std::move(run), {{rendezvous.rank(), device}});
}

}  // namespace hetero
