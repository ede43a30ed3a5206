#include "hetero/comm/processes/envelope.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace hetero::internal {

void EnvelopeHead::SetName(std::string_view text) {
  text.remove_prefix(text.size() - std::min(text.size(), name.size()));
  std::ranges::copy(text, name.begin());
  name_size = static_cast<uint8_t>(text.size());
}

std::string EnvelopeHead::ToString() const {
  if (call == CallKind::kMessage) {
    return absl::StrCat("a message of ", num_elements, " ", Name(dtype), " in exchange '",
                        name_view(), "'");
  }
  std::string text =
      absl::StrCat(Name(kind), " '", name_view(), "' of ", num_elements, " ", Name(dtype));
  if (kind == CollectiveKind::kAllReduce) absl::StrAppend(&text, " (", Name(op), ")");
  if (kind == CollectiveKind::kBroadcast) absl::StrAppend(&text, " from member ", root);
  if (kind == CollectiveKind::kAllToAll) {
    absl::StrAppend(&text, " in rows of ", row_elements, ", sending the other ", send_rows,
                    ", receiving ", receive_rows, " rows");
  }
  return text;
}

EnvelopeHead HeadOf(const Collective& call) {
  EnvelopeHead head{.call = CallKind::kCollective,
                    .kind = call.kind,
                    .op = call.op,
                    .dtype = call.input.dtype(),
                    .root = call.root.value(),
                    .num_elements = call.input.num_elements()};
  head.SetName(call.name);
  return head;
}

bool SameCall(const EnvelopeHead& own, const EnvelopeHead& peer) {
  const bool rows = own.kind == CollectiveKind::kAllToAll;
  return own.call == peer.call && own.kind == peer.kind && own.op == peer.op &&
         own.dtype == peer.dtype && own.root == peer.root && own.name_view() == peer.name_view() &&
         own.row_elements == peer.row_elements && own.send_rows == peer.receive_rows &&
         own.receive_rows == peer.send_rows && (rows || own.num_elements == peer.num_elements);
}

}  // namespace hetero::internal
