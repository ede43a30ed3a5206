#include "hetero/trainer/step/op.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

std::string Transfer(const Op& op, std::string_view letter) {
  return absl::StrCat(IsPost(op.kind) ? "+" : "", letter, IsForward(op.channel) ? "f" : "b",
                      op.microbatch);
}

}  // namespace

std::string ToString(const Op& op) {
  switch (op.kind) {
    case OpKind::kPostReceive:
    case OpKind::kWaitReceive:
      return Transfer(op, "r");
    case OpKind::kPostSend:
    case OpKind::kWaitSend:
      return Transfer(op, "s");
    case OpKind::kLoad:
      return absl::StrCat("L", op.microbatch);
    case OpKind::kForward:
      return absl::StrCat("F", op.microbatch);
    case OpKind::kBackward:
      return absl::StrCat("B", op.microbatch);
    case OpKind::kReduceGradients:
      return "G";
    case OpKind::kFinishStep:
      return "S";
    case OpKind::kUpdate:
      return "U";
  }
  return "";
}

std::string ToString(std::span<const Op> program) {
  return absl::StrJoin(program, " ",
                       [](std::string* out, const Op& op) { absl::StrAppend(out, ToString(op)); });
}

}  // namespace hetero
