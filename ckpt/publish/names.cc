#include "hetero/ckpt/publish/names.h"

#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace hetero {
namespace {

constexpr std::string_view kIterationPrefix = "iter_";

}  // namespace

std::string IterationName(int64_t iteration) {
  return absl::StrFormat("%s%07d", kIterationPrefix, iteration);
}

std::optional<int64_t> ParseIterationName(std::string_view name) {
  std::string_view digits = name;
  int64_t iteration = -1;
  if (!absl::ConsumePrefix(&digits, kIterationPrefix) || !absl::SimpleAtoi(digits, &iteration) ||
      iteration < 0 || IterationName(iteration) != name) {
    return std::nullopt;
  }
  return iteration;
}

std::string StagingName(int64_t iteration, std::string_view save_id) {
  return absl::StrCat(".", IterationName(iteration), ".", save_id);
}

bool IsStagingName(std::string_view name) {
  if (!absl::ConsumePrefix(&name, ".")) return false;
  return ParseIterationName(name.substr(0, name.find('.'))).has_value() &&
         absl::StrContains(name, '.');
}

std::string UniqueToken() {
  std::random_device device;
  return absl::StrFormat("%08x%08x", device(), device());
}

}  // namespace hetero
