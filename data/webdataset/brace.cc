#include "hetero/data/webdataset/brace.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

constexpr size_t kMaxNames = 1'000'000;
constexpr int kMaxDepth = 32;

bool IsNumber(std::string_view text) {
  return !text.empty() && text.size() <= 18 && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
}

std::string Padded(int64_t value, size_t width) {
  return absl::StrFormat("%0*d", static_cast<int>(width), value);
}

// "3..12" as its numbers; nullopt when the text is no range.
absl::StatusOr<std::optional<std::vector<std::string>>> ExpandRange(std::string_view body) {
  const size_t dots = body.find("..");
  if (dots == std::string_view::npos) return std::nullopt;
  const std::string_view first_text = body.substr(0, dots);
  const std::string_view last_text = body.substr(dots + 2);
  if (!IsNumber(first_text) || !IsNumber(last_text)) return std::nullopt;
  int64_t first = 0;
  int64_t last = 0;
  if (!absl::SimpleAtoi(first_text, &first) || !absl::SimpleAtoi(last_text, &last)) {
    return std::nullopt;
  }
  const int64_t count = (last > first ? last - first : first - last) + 1;
  if (count > static_cast<int64_t>(kMaxNames)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "{%s} stands for %d names; at most %d are accepted", body, count, kMaxNames));
  }
  const bool padded = (first_text.size() > 1 && first_text[0] == '0') ||
                      (last_text.size() > 1 && last_text[0] == '0');
  const size_t width = padded ? std::max(first_text.size(), last_text.size()) : 0;
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) {
    names.push_back(Padded(last > first ? first + i : first - i, width));
  }
  return names;
}

// Splits at commas outside inner braces.
std::vector<std::string_view> SplitAlternatives(std::string_view body) {
  std::vector<std::string_view> parts;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] == '{') ++depth;
    if (body[i] == '}') --depth;
    if (body[i] == ',' && depth == 0) {
      parts.push_back(body.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  parts.push_back(body.substr(begin));
  return parts;
}

absl::StatusOr<std::vector<std::string>> Expand(std::string_view pattern, int depth) {
  if (depth > kMaxDepth) return absl::InvalidArgumentError("braces nest too deeply");
  std::vector<std::string> names = {""};
  while (!pattern.empty()) {
    const size_t open = pattern.find('{');
    const std::string_view literal = pattern.substr(0, open);
    if (literal.find('}') != std::string_view::npos) {
      return absl::InvalidArgumentError("a '}' has no '{'");
    }
    for (std::string& name : names) name += literal;
    if (open == std::string_view::npos) break;
    int level = 0;
    size_t close = open;
    for (; close < pattern.size(); ++close) {
      if (pattern[close] == '{') ++level;
      if (pattern[close] == '}' && --level == 0) break;
    }
    if (close == pattern.size()) return absl::InvalidArgumentError("a '{' has no '}'");
    const std::string_view body = pattern.substr(open + 1, close - open - 1);
    pattern.remove_prefix(close + 1);

    std::vector<std::string> choices;
    HETERO_ASSIGN_OR_RETURN(const std::optional<std::vector<std::string>> range, ExpandRange(body));
    const std::vector<std::string_view> alternatives = SplitAlternatives(body);
    if (range.has_value()) {
      choices = *range;
    } else if (alternatives.size() > 1) {
      for (const std::string_view alternative : alternatives) {
        HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> inner,
                                Expand(alternative, depth + 1));
        choices.insert(choices.end(), inner.begin(), inner.end());
      }
    } else {
      HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> inner, Expand(body, depth + 1));
      for (const std::string& text : inner) choices.push_back(absl::StrCat("{", text, "}"));
    }
    if (names.size() * choices.size() > kMaxNames) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the pattern stands for more than %d names", kMaxNames));
    }
    std::vector<std::string> product;
    product.reserve(names.size() * choices.size());
    for (const std::string& name : names) {
      for (const std::string& choice : choices) product.push_back(name + choice);
    }
    names = std::move(product);
  }
  return names;
}

// A name cut around its last run of digits.
struct Numbered {
  std::string_view before;
  std::string_view digits;
  std::string_view after;
};

Numbered SplitNumber(std::string_view name) {
  size_t end = name.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(name[end - 1])) == 0) --end;
  size_t begin = end;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(name[begin - 1])) != 0) --begin;
  return {name.substr(0, begin), name.substr(begin, end - begin), name.substr(end)};
}

bool Continues(const Numbered& previous, const Numbered& next) {
  int64_t a = 0;
  int64_t b = 0;
  return IsNumber(previous.digits) && IsNumber(next.digits) &&
         previous.digits.size() == next.digits.size() && previous.before == next.before &&
         previous.after == next.after && absl::SimpleAtoi(previous.digits, &a) &&
         absl::SimpleAtoi(next.digits, &b) && b == a + 1;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ExpandBraces(std::string_view pattern) {
  absl::StatusOr<std::vector<std::string>> names = Expand(pattern, 0);
  HETERO_RETURN_IF_ERROR(names.status()).With(absl::StrCat("pattern \"", pattern, "\""));
  return names;
}

std::vector<std::string> CollapseRuns(std::span<const std::string> names) {
  std::vector<std::string> patterns;
  for (size_t begin = 0; begin < names.size();) {
    const Numbered first = SplitNumber(names[begin]);
    Numbered last = first;
    size_t end = begin + 1;
    for (; end < names.size() && Continues(last, SplitNumber(names[end])); ++end) {
      last = SplitNumber(names[end]);
    }
    patterns.push_back(end == begin + 1 ? names[begin]
                                        : absl::StrCat(first.before, "{", first.digits, "..",
                                                       last.digits, "}", first.after));
    begin = end;
  }
  return patterns;
}

}  // namespace hetero::data
