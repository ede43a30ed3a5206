#include "hetero/ckpt/inspect/closeness.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <map>
#include <span>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/inspect/numbers.h"

namespace hetero {
namespace {

size_t NumDigits(std::string_view text) {
  const auto is_digit = [](unsigned char letter) { return std::isdigit(letter) != 0; };
  return std::ranges::find_if_not(text, is_digit) - text.begin();
}

// "layers.2.x" before "layers.10.x".
bool ByNumbers(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    const size_t digits_a = NumDigits(a), digits_b = NumDigits(b);
    if (digits_a > 0 && digits_b > 0) {
      if (digits_a != digits_b) return digits_a < digits_b;
      const int order = a.substr(0, digits_a).compare(b.substr(0, digits_b));
      if (order != 0) return order < 0;
      a.remove_prefix(digits_a);
      b.remove_prefix(digits_b);
      continue;
    }
    if (a[0] != b[0]) return a[0] < b[0];
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.size() < b.size();
}

// Keys of both, in the order of the model.
std::vector<std::string> OrderedKeys(const StoredTensors& first, const StoredTensors& second,
                                     std::string_view prefix) {
  const std::vector<std::string>& told = first.order().empty() ? second.order() : first.order();
  std::map<std::string_view, size_t> places;
  for (const std::string& key : told) places.emplace(key, places.size());
  std::vector<std::string> keys;
  for (const auto& [key, head] : first.heads()) {
    if (absl::StartsWith(key, prefix) && second.heads().contains(key)) keys.push_back(key);
  }
  const auto place_of = [&](const std::string& key) {
    const auto place = places.find(key);
    return place == places.end() ? places.size() : place->second;
  };
  std::ranges::sort(keys, [&](const std::string& a, const std::string& b) {
    const size_t place_a = place_of(a), place_b = place_of(b);
    return place_a != place_b ? place_a < place_b : ByNumbers(a, b);
  });
  return keys;
}

TensorCloseness Compare(std::string_view key, ElementType type_a,
                        std::span<const std::byte> bytes_a, ElementType type_b,
                        std::span<const std::byte> bytes_b) {
  TensorCloseness result{.key = std::string(key)};
  const int64_t count = std::ssize(bytes_a) / (BitsOf(type_a) / 8);
  double difference = 0, norm_a = 0, norm_b = 0, product = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double a = NumberAt(type_a, bytes_a, i), b = NumberAt(type_b, bytes_b, i);
    const double distance = std::abs(a - b);
    difference += distance * distance;
    norm_a += a * a;
    norm_b += b * b;
    product += a * b;
    // NaN stays: no comparison with it holds.
    if (!(distance <= result.max_abs) && !std::isnan(result.max_abs)) result.max_abs = distance;
  }
  if (difference != 0) result.relative = std::sqrt(difference / norm_b);
  if (norm_a != 0 || norm_b != 0) result.cosine = product / std::sqrt(norm_a * norm_b);
  return result;
}

}  // namespace

std::string TensorCloseness::ToString() const {
  return absl::StrCat(key, ": relative ", relative, ", cosine ", cosine, ", max abs ", max_abs);
}

const TensorCloseness* ClosenessReport::FirstBeyond(double tolerance) const {
  const auto found = std::ranges::find_if_not(
      tensors, [&](const TensorCloseness& at) { return at.IsWithin(tolerance); });
  return found == tensors.end() ? nullptr : &*found;
}

absl::StatusOr<ClosenessReport> CompareNumbers(const StoredTensors& first,
                                               const StoredTensors& second,
                                               const ClosenessOptions& options) {
  ClosenessReport report;
  const auto add_missing = [&](const StoredTensors& in, const StoredTensors& not_in,
                               std::vector<std::string>& missing) {
    for (const auto& [key, head] : in.heads()) {
      if (absl::StartsWith(key, options.prefix) && !not_in.heads().contains(key)) {
        missing.push_back(key);
      }
    }
  };
  add_missing(first, second, report.only_first);
  add_missing(second, first, report.only_second);
  for (const std::string& key : OrderedKeys(first, second, options.prefix)) {
    if (options.before_each) {
      HETERO_RETURN_IF_ERROR(options.before_each(key));
    }
    const TensorHead& a = first.heads().find(key)->second;
    const TensorHead& b = second.heads().find(key)->second;
    if (a.shape != b.shape || !IsFloat(a.type) || !IsFloat(b.type)) {
      report.unlike.push_back(absl::StrCat(key, ": ", a.ToString(), " and ", b.ToString()));
      continue;
    }
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes_a, first.Read(key));
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes_b, second.Read(key));
    report.tensors.push_back(Compare(key, a.type, bytes_a, b.type, bytes_b));
  }
  return report;
}

}  // namespace hetero
