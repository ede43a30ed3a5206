#ifndef HETERO_COMM_ALL_TO_ALL_ROWS_H_
#define HETERO_COMM_ALL_TO_ALL_ROWS_H_

// Rows from every member to every member, wherever they lie in a tensor: what tokens take to their
// experts and back. As Communicator::AllToAllV, but the rows of two members may have gaps between
// them, come in any order, and rows that go to nobody stay where they are.

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/base/index_range.h"
#include "hetero/comm/communicator.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Rows sends[g] of `input` go to member g, what g sends arrives in rows receives[g] of `output`.
// One exchange of all messages, recorded with the bytes that go to others; on accelerators both
// ends are in stream order. `output`'s ranges are disjoint, and apart from `input`.
// Errors: INVALID_ARGUMENT for other than size() ranges, or as many rows from this member to itself
// as it does not send; those of Communicator::Exchange.
absl::Status AllToAllRows(Communicator& communicator, ConstTensorView input,
                          std::span<const IndexRange> sends, TensorView output,
                          std::span<const IndexRange> receives, Stream& stream,
                          std::string_view name);

}  // namespace hetero

#endif  // HETERO_COMM_ALL_TO_ALL_ROWS_H_
