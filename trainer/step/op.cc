#include "hetero/trainer/step/op.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

std::string Transfer(const Op& op, std::string_view letter) {
  return absl::StrCat(IsPost(op.kind) ? "+" : "", letter, IsForward(op.channel) ? "f" : "b");
}

std::string Letters(const Op& op) {
  switch (op.kind) {
    case OpKind::kPostReceive:
    case OpKind::kWaitReceive:
      return Transfer(op, "r");
    case OpKind::kPostSend:
    case OpKind::kWaitSend:
      return Transfer(op, "s");
    case OpKind::kLoad:
      return "L";
    case OpKind::kForward:
      return "F";
    case OpKind::kBackward:
      return "B";
    case OpKind::kBackwardInput:
      return "I";
    case OpKind::kBackwardWeight:
      return "W";
    case OpKind::kReduceGradients:
      return "G";
    case OpKind::kUpdate:
      return "U";
    case OpKind::kGatherParameters:
      return "P";
    case OpKind::kFinishStep:
      return "S";
  }
  return "";
}

}  // namespace

std::string ToString(const Op& op) {
  std::string text = Letters(op);
  if (op.kind < OpKind::kReduceGradients) absl::StrAppend(&text, op.microbatch);
  if (op.chunk > 0) absl::StrAppend(&text, "'", op.chunk);
  return text;
}

std::string ToString(std::span<const Op> program) {
  return absl::StrJoin(program, " ",
                       [](std::string* out, const Op& op) { absl::StrAppend(out, ToString(op)); });
}

}  // namespace hetero
