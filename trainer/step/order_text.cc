#include "hetero/trainer/step/order_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

std::string Name(const Op& op) {
  std::string text = ToString(op);
  return text.front() == '+' ? text.substr(1) : text;
}

void AddOnce(std::vector<std::string>& words, const std::string& word) {
  if (words.empty() || words.back() != word) words.push_back(word);
}

}  // namespace

std::string OrderText(std::span<const Op> program) {
  std::vector<std::string> words;
  for (size_t i = 0; i < program.size(); ++i) {
    const Op& op = program[i];
    if (op.kind == OpKind::kForward || GivesInputGradient(op.kind) || EndsBackward(op.kind)) {
      words.push_back(Name(op));
    }
    if (op.kind == OpKind::kWaitReceive) AddOnce(words, Name(op));
    if (!IsPost(op.kind)) continue;
    std::vector<std::string> posted;
    size_t end = i;
    for (; end < program.size() && IsPost(program[end].kind); ++end) {
      AddOnce(posted, Name(program[end]));
    }
    const bool waits =
        end < program.size() && IsWait(program[end].kind) && Name(program[end]) == posted.front();
    if (waits && op.kind == OpKind::kPostSend && posted.size() > 1) {
      words.push_back(absl::StrCat("[", absl::StrJoin(posted, "+"), "]"));
      while (end < program.size() && IsWait(program[end].kind)) ++end;
      i = end - 1;
      continue;
    }
    if (op.kind == OpKind::kPostSend) AddOnce(words, Name(op));
  }
  return absl::StrJoin(words, " ");
}

int PeakInFlight(std::span<const Op> program) {
  int live = 0;
  int peak = 0;
  for (const Op& op : program) {
    if (op.kind == OpKind::kForward) peak = std::max(peak, ++live);
    if (EndsBackward(op.kind)) --live;
  }
  return peak;
}

}  // namespace hetero
