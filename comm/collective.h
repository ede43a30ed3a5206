#ifndef HETERO_COMM_COLLECTIVE_H_
#define HETERO_COMM_COLLECTIVE_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "hetero/grid/rank.h"
#include "hetero/tensor/reduce_op.h"
#include "hetero/tensor/view.h"

namespace hetero {

enum class CollectiveKind : uint8_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kAllToAll,
  kBroadcast
};

// "all_reduce"
constexpr std::string_view Name(CollectiveKind kind) {
  constexpr std::string_view kNames[] = {"all_reduce", "reduce_scatter", "all_gather", "all_to_all",
                                         "broadcast"};
  return kNames[static_cast<int>(kind)];
}

// A member's call of a collective, as a value: what is checked, recorded, compared with the peers'
// and run. Operands mean what they mean in Communicator's function of the kind. A view: the caller
// keeps what it points at until the call returns.
struct Collective {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  std::string_view name;                  // the plan's
  ConstTensorView input;                  // of a broadcast, its tensor
  TensorView output;                      // likewise
  ReduceOp op = ReduceOp::kSum;           // of an all-reduce
  GroupRank root = GroupRank(0);          // of a broadcast
  std::span<const int64_t> send_rows;     // of an all-to-all
  std::span<const int64_t> receive_rows;  // of an all-to-all

  // Of an all-to-all: elements of a row.
  int64_t row_elements() const {
    int64_t elements = 1;
    for (const int64_t dim : input.dims().subspan(1)) elements *= dim;
    return elements;
  }
};

}  // namespace hetero

#endif  // HETERO_COMM_COLLECTIVE_H_
