#include "hetero/trainer/timing/fit_rates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

namespace hetero {
namespace {

constexpr int kTerms = 3;
using Terms = std::array<double, kTerms>;

Terms TermsOf(const MeasuredTime& time) { return {time.calls, time.flops, time.bytes}; }

// Solves A x = b over the terms in `used` by Gauss's elimination; nothing where they depend on each
// other.
std::optional<Terms> Solve(std::array<Terms, kTerms> a, Terms b, unsigned used) {
  const auto is_used = [&](int i) { return (used >> i & 1) != 0; };
  for (int i = 0; i < kTerms; ++i) {
    if (!is_used(i)) continue;
    if (std::abs(a[i][i]) < 1e-9) return std::nullopt;
    for (int j = 0; j < kTerms; ++j) {
      if (!is_used(j) || j == i) continue;
      const double factor = a[j][i] / a[i][i];
      for (int k = 0; k < kTerms; ++k) a[j][k] -= factor * a[i][k];
      b[j] -= factor * b[i];
    }
  }
  Terms x = {};
  for (int i = 0; i < kTerms; ++i) {
    if (is_used(i)) x[i] = b[i] / a[i][i];
  }
  return x;
}

}  // namespace

FittedRates FitRates(std::span<const MeasuredTime> times) {
  // Rows are relative to their time, terms to their norm: the equations then have ones on their
  // diagonal, whatever the sizes are.
  Terms unit = {};
  for (const MeasuredTime& time : times) {
    if (time.seconds <= 0) continue;
    for (int i = 0; i < kTerms; ++i) unit[i] += std::pow(TermsOf(time)[i] / time.seconds, 2);
  }
  for (double& norm : unit) norm = std::sqrt(norm);
  if (*std::ranges::max_element(unit) == 0) return {};
  std::array<Terms, kTerms> a = {};
  Terms b = {};
  for (const MeasuredTime& time : times) {
    if (time.seconds <= 0) continue;
    Terms row = TermsOf(time);
    for (int i = 0; i < kTerms; ++i) row[i] = unit[i] > 0 ? row[i] / unit[i] / time.seconds : 0;
    for (int i = 0; i < kTerms; ++i) {
      b[i] += row[i];
      for (int j = 0; j < kTerms; ++j) a[i][j] += row[i] * row[j];
    }
  }
  FittedRates best;
  double least = std::numeric_limits<double>::infinity();
  for (unsigned used = 1; used < 1u << kTerms; ++used) {
    const std::optional<Terms> x = Solve(a, b, used);
    if (!x.has_value() || std::ranges::any_of(*x, [](double rate) { return rate < 0; })) continue;
    const auto rate = [&](int i) { return unit[i] > 0 ? (*x)[i] / unit[i] : 0; };
    const FittedRates fitted = {.call = rate(0), .flop = rate(1), .byte = rate(2)};
    double error = 0;
    for (const MeasuredTime& time : times) {
      if (time.seconds > 0) error += std::pow(fitted.Seconds(time) / time.seconds - 1, 2);
    }
    if (error < least) {
      least = error;
      best = fitted;
    }
  }
  return best;
}

}  // namespace hetero
