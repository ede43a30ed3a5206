#include "hetero/data/text/regex_dialect.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

constexpr std::string_view kWordCharacters = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

constexpr std::array<std::string_view, 37> kGeneralCategories = {
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
    "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi",
    "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

constexpr std::array<std::string_view, 6> kGroups = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
constexpr std::string_view kCaselessGroup = "(?i:";

class Translator {
 public:
  explicit Translator(std::string_view expression) : all_(expression), rest_(expression) {}

  absl::StatusOr<std::string> Run() && {
    while (!rest_.empty()) {
      const char c = rest_[0];
      absl::Status status;
      if (c == '\\') {
        status = Escape(/*in_class=*/false);
      } else if (c == '[') {
        status = Class();
      } else if (c == '(') {
        status = Group();
      } else if (c == '*' || c == '+' || c == '?') {
        Take(1);
        if (absl::StartsWith(rest_, "?") || absl::StartsWith(rest_, "+")) Take(1);
      } else if (c == '{') {
        status = Count();
      } else if (c == '^' || c == '$') {
        status = Unknown(1);
      } else {
        Take(1);
      }
      if (!status.ok()) return status;
    }
    return std::move(pcre_);
  }

 private:
  void Take(size_t count) {
    pcre_.append(rest_.substr(0, count));
    rest_.remove_prefix(count);
  }

  void Replace(size_t count, std::string_view by) {
    pcre_.append(by);
    rest_.remove_prefix(count);
  }

  absl::Status Unknown(size_t count) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("'%s' at byte %d is not supported; supported are literals, classes, \\p, "
                        "\\s, \\d, \\w, groups that capture nothing, look-around, and counts",
                        rest_.substr(0, count), all_.size() - rest_.size()));
  }

  // `rest_` begins with "\p" or "\P".
  absl::Status Property() {
    const size_t end = rest_.find('}');
    if (rest_.size() < 4 || rest_[2] != '{' || end == std::string_view::npos) {
      return Unknown(std::min<size_t>(rest_.size(), 3));
    }
    std::string_view name = rest_.substr(3, end - 3);
    bool negated = rest_[1] == 'P';
    if (absl::StartsWith(name, "^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (name.empty() || !std::ranges::all_of(name, [](char c) {
          return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_';
        })) {
      return Unknown(end + 1);
    }
    const bool is_category =
        std::ranges::find(kGeneralCategories, name) != kGeneralCategories.end();
    Replace(end + 1, absl::StrCat(negated ? "\\P{" : "\\p{", is_category ? "" : "sc:", name, "}"));
    return absl::OkStatus();
  }

  // `rest_` begins with a backslash.
  absl::Status Escape(bool in_class) {
    if (rest_.size() < 2) return Unknown(1);
    const char c = rest_[1];
    if (absl::ascii_ispunct(static_cast<unsigned char>(c))) {
      Take(2);
      return absl::OkStatus();
    }
    switch (c) {
      case 'n':
      case 'r':
      case 't':
      case 'f':
        Take(2);
        return absl::OkStatus();
      case 's':
        Replace(2, "\\p{White_Space}");
        return absl::OkStatus();
      case 'S':
        Replace(2, "\\P{White_Space}");
        return absl::OkStatus();
      case 'd':
        Replace(2, "\\p{Nd}");
        return absl::OkStatus();
      case 'D':
        Replace(2, "\\P{Nd}");
        return absl::OkStatus();
      case 'w':
        Replace(2, in_class ? kWordCharacters : absl::StrCat("[", kWordCharacters, "]"));
        return absl::OkStatus();
      case 'W':
        // Inside a class it is the complement of a union, which no class can hold.
        if (in_class) return Unknown(2);
        Replace(2, absl::StrCat("[^", kWordCharacters, "]"));
        return absl::OkStatus();
      case 'p':
      case 'P':
        return Property();
      case 'u':
        return CodePoint();
      default:
        return Unknown(2);
    }
  }

  // `rest_` begins with "\u".
  absl::Status CodePoint() {
    constexpr size_t kSize = 6;
    uint32_t code_point = 0;
    if (rest_.size() < kSize || !absl::SimpleHexAtoi(rest_.substr(2, kSize - 2), &code_point)) {
      return Unknown(std::min(rest_.size(), kSize));
    }
    Replace(kSize, absl::StrFormat("\\x{%x}", code_point));
    return absl::OkStatus();
  }

  // `rest_` begins with an opening bracket.
  absl::Status Class() {
    Take(1);
    if (absl::StartsWith(rest_, "^")) Take(1);
    if (absl::StartsWith(rest_, "]")) return Unknown(1);
    while (!rest_.empty() && rest_[0] != ']') {
      if (rest_[0] == '\\') {
        HETERO_RETURN_IF_ERROR(Escape(/*in_class=*/true));
      } else if (rest_[0] == '[') {
        return Unknown(1);
      } else if (absl::StartsWith(rest_, "&&")) {
        return Unknown(2);
      } else {
        Take(1);
      }
    }
    if (rest_.empty()) return absl::InvalidArgumentError("a class has no ']'");
    Take(1);
    return absl::OkStatus();
  }

  // `rest_` begins with a parenthesis.
  absl::Status Group() {
    if (!absl::StartsWith(rest_, "(?")) {
      Replace(1, "(?:");
      return absl::OkStatus();
    }
    for (const std::string_view group : kGroups) {
      if (!absl::StartsWith(rest_, group)) continue;
      Take(group.size());
      return absl::OkStatus();
    }
    if (!absl::StartsWith(rest_, kCaselessGroup)) return Unknown(std::min<size_t>(rest_.size(), 4));
    Take(kCaselessGroup.size());
    return absl::OkStatus();
  }

  // `rest_` begins with a brace. What follows a count is read differently.
  absl::Status Count() {
    const size_t end = rest_.find('}');
    if (end == std::string_view::npos) return Unknown(1);
    const std::string_view inside = rest_.substr(1, end - 1);
    const size_t comma = inside.find(',');
    const auto is_number = [](std::string_view text) {
      return std::ranges::all_of(
          text, [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
    };
    const bool has_range = comma != std::string_view::npos;
    const std::string_view least = inside.substr(0, comma);
    const std::string_view most = has_range ? inside.substr(comma + 1) : std::string_view();
    if (!is_number(least) || !is_number(most) || (least.empty() && most.empty())) {
      return Unknown(end + 1);
    }
    const std::string_view behind = rest_.substr(end + 1);
    if (absl::StartsWith(behind, "+") || (!has_range && absl::StartsWith(behind, "?"))) {
      return Unknown(end + 2);
    }
    if (least.empty()) Replace(1, "{0");
    Take(rest_.find('}') + 1);
    if (absl::StartsWith(rest_, "?")) Take(1);
    return absl::OkStatus();
  }

  std::string_view all_;
  std::string_view rest_;
  std::string pcre_;
};

}  // namespace

absl::StatusOr<std::string> ToPcre(std::string_view expression) {
  return Translator(expression).Run();
}

}  // namespace hetero::data
