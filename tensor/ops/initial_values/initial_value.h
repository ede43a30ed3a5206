#ifndef HETERO_TENSOR_OPS_INITIAL_VALUES_INITIAL_VALUE_H_
#define HETERO_TENSOR_OPS_INITIAL_VALUES_INITIAL_VALUE_H_

// One value of initial_values.h, for kernels of any device. All arithmetic after the words is
// fused multiply-adds, divisions and square roots of doubles, which IEEE 754 fixes to the bit on
// every device; no math library is called, and no product meets a sum that a compiler could fuse.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hetero/tensor/ops/any_device.h"
#include "hetero/tensor/ops/initial_values/initial_values.h"

namespace hetero::internal {

struct PhiloxWords {
  uint32_t words[4];
};

HETERO_ANY_DEVICE PhiloxWords PhiloxOf(uint64_t counter, uint64_t key) {
  uint32_t x0 = static_cast<uint32_t>(counter), x1 = static_cast<uint32_t>(counter >> 32);
  uint32_t x2 = 0, x3 = 0;
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * x0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * x2;
    x0 = static_cast<uint32_t>(p1 >> 32) ^ x1 ^ k0;
    x1 = static_cast<uint32_t>(p1);
    x2 = static_cast<uint32_t>(p0 >> 32) ^ x3 ^ k1;
    x3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{x0, x1, x2, x3}};
}

// Horner's rule, highest coefficient first, one fused multiply-add a step.
template <size_t N>
HETERO_ANY_DEVICE double Polynomial(double x, const double (&coefficients)[N]) {
  double value = coefficients[0];
  for (size_t i = 1; i < N; ++i) value = fma(value, x, coefficients[i]);
  return value;
}

// log(x) for normal positive x: x = m 2^e with m near 1, log m = 2 atanh((m-1)/(m+1)).
HETERO_ANY_DEVICE double LogOf(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  // Adding the fraction of sqrt(2) moves the split point so that m lies in [1/sqrt 2, sqrt 2).
  const uint64_t shifted = bits + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
  const double exponent = static_cast<double>(static_cast<int64_t>(shifted >> 52) - 1023);
  const double m = std::bit_cast<double>(bits - (((shifted >> 52) - 1023) << 52));
  const double t = (m - 1.0) / (m + 1.0);
  const double series = Polynomial(t * t, {2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11,
                                           2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2.0});
  return fma(exponent, kLn2, t * series);
}

// exp(x) for |x| < 700: 2^n times the Taylor series of the rest.
HETERO_ANY_DEVICE double ExpOf(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  const double n = nearbyint(x / kLn2);
  const double r = fma(-n, kLn2, x);
  const double series =
      Polynomial(r, {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                     1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0});
  return std::bit_cast<double>(std::bit_cast<uint64_t>(series) +
                               (static_cast<uint64_t>(static_cast<int64_t>(n)) << 52));
}

HETERO_ANY_DEVICE double UniformOf(uint32_t word) {
  return fma(static_cast<double>(word), 0x1p-32, 0x1p-33);
}

HETERO_ANY_DEVICE double NormalOf(uint32_t word) {
  const double u = UniformOf(word);
  const double q = u - 0.5;
  if (fabs(q) <= 0.425) {
    const double r = fma(-q, q, 0.180625);
    return q *
           Polynomial(r, {5.9109374720e+01, 1.5929113202e+02, 5.0434271938e+01, 3.3871327179e+00}) /
           Polynomial(r, {6.7187563600e+01, 7.8757757664e+01, 1.7895169469e+01, 1.0});
  }
  const double tail = sqrt(-LogOf(q < 0 ? u : 1.0 - u));
  const double r = tail - 1.6;  // a 32-bit word keeps the tail below 5: one region is enough
  const double value =
      Polynomial(r, {1.7023821103e-01, 1.3067284816e+00, 2.7568153900e+00, 1.4234372777e+00}) /
      Polynomial(r, {1.2021132975e-01, 7.3700164250e-01, 1.0});
  return q < 0 ? -value : value;
}

HETERO_ANY_DEVICE double InitialValueOf(const Init& init, uint64_t key, int64_t index) {
  if (init.kind == Init::Kind::kConstant) return init.a;
  const uint32_t word = PhiloxOf(static_cast<uint64_t>(index) / 4, key).words[index % 4];
  switch (init.kind) {
    case Init::Kind::kConstant:
      break;
    case Init::Kind::kNormal:
      return init.a * NormalOf(word);
    case Init::Kind::kUniform:
      return fma(UniformOf(word), init.b - init.a, init.a);
    case Init::Kind::kLogOfUniform:
      return LogOf(fma(UniformOf(word), init.b - init.a, init.a));
    case Init::Kind::kInverseSoftplus: {
      const double low = LogOf(init.a);
      const double drawn = ExpOf(fma(UniformOf(word), LogOf(init.b) - low, low));
      const double dt = drawn < 1e-4 ? 1e-4 : drawn;
      return dt + LogOf(1.0 - ExpOf(-dt));
    }
  }
  return init.a;
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_INITIAL_VALUES_INITIAL_VALUE_H_
