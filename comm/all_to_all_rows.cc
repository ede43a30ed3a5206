#include "hetero/comm/all_to_all_rows.h"

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {

absl::Status AllToAllRows(Communicator& communicator, ConstTensorView input,
                          std::span<const IndexRange> sends, TensorView output,
                          std::span<const IndexRange> receives, Stream& stream,
                          std::string_view name) {
  const size_t size = static_cast<size_t>(communicator.size());
  const size_t me = static_cast<size_t>(communicator.rank().value());
  if (sends.size() != size || receives.size() != size || sends[me].count != receives[me].count) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' on ", communicator.ToString(), ": ", sends.size(),
                     " ranges to send and ", receives.size(), " to receive; expected ", size,
                     " of each, and as many rows from this member to itself as back"));
  }
  std::vector<SendRequest> to;
  std::vector<ReceiveRequest> from;
  for (size_t g = 0; g < size; ++g) {
    if (g == me) continue;
    const GroupRank peer(static_cast<int64_t>(g));
    to.push_back({peer, input.Rows(sends[g].first, sends[g].count)});
    from.push_back({peer, output.Rows(receives[g].first, receives[g].count)});
  }
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<TransferHandle> transfer,
                          communicator.Exchange(to, from, stream, name));
  // While the others' rows are under way.
  if (sends[me].count > 0) {
    HETERO_RETURN_IF_ERROR(Copy(input.Rows(sends[me].first, sends[me].count),
                                output.Rows(receives[me].first, receives[me].count), stream));
  }
  return transfer->Wait();
}

}  // namespace hetero
