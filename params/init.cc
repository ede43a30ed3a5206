#include "hetero/params/init.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>

#include "absl/log/check.h"
#include "hetero/base/status.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Horner's rule, highest coefficient first, one fused multiply-add a step.
template <size_t N>
double Polynomial(double x, const double (&coefficients)[N]) {
  double value = coefficients[0];
  for (size_t i = 1; i < N; ++i) value = std::fma(value, x, coefficients[i]);
  return value;
}

// log(x) for normal positive x: x = m 2^e with m near 1, log m = 2 atanh((m-1)/(m+1)).
double Log(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  // Adding the fraction of sqrt(2) moves the split point so that m lies in [1/sqrt 2, sqrt 2).
  const uint64_t shifted = bits + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
  const double exponent = static_cast<double>(static_cast<int64_t>(shifted >> 52) - 1023);
  const double m = std::bit_cast<double>(bits - (((shifted >> 52) - 1023) << 52));
  const double t = (m - 1.0) / (m + 1.0);
  const double series = Polynomial(t * t, {2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11,
                                           2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2.0});
  return std::fma(exponent, kLn2, t * series);
}

// exp(x) for |x| < 700: 2^n times the Taylor series of the rest.
double Exp(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  const double n = std::nearbyint(x / kLn2);
  const double r = std::fma(-n, kLn2, x);
  const double series =
      Polynomial(r, {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                     1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0});
  return std::bit_cast<double>(std::bit_cast<uint64_t>(series) +
                               (static_cast<uint64_t>(static_cast<int64_t>(n)) << 52));
}

double UniformFromWord(uint32_t word) { return std::fma(word, 0x1p-32, 0x1p-33); }

template <typename T>
void Fill(const ParameterSpec& spec, const Shard& shard, uint64_t key, T* values) {
  const size_t rank = spec.shape.size();
  for (const ShardBox& box : shard.boxes) {
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < rank; ++d) rows *= box.extent[d];
    const int64_t columns = rank == 0 ? 1 : box.extent[rank - 1];
    for (int64_t row = 0; row < rows; ++row) {
      int64_t rest = row;
      int64_t logical = 0;
      int64_t local = 0;
      int64_t logical_stride = rank == 0 ? 1 : spec.shape[rank - 1];
      int64_t local_stride = rank == 0 ? 1 : shard.shape[rank - 1];
      for (size_t d = rank - 1; d-- > 0 && rank > 1;) {
        const int64_t i = rest % box.extent[d];
        rest /= box.extent[d];
        logical += (box.logical_begin[d] + i) * logical_stride;
        local += (box.local_begin[d] + i) * local_stride;
        logical_stride *= spec.shape[d];
        local_stride *= shard.shape[d];
      }
      if (rank > 0) {
        logical += box.logical_begin[rank - 1];
        local += box.local_begin[rank - 1];
      }
      for (int64_t c = 0; c < columns; ++c) {
        const double value = InitialValue(spec.init, key, logical + c);
        if constexpr (std::is_same_v<T, BFloat16>) {
          values[local + c] = BFloat16(static_cast<float>(value));
        } else {
          values[local + c] = static_cast<T>(value);
        }
      }
    }
  }
}

}  // namespace

std::array<uint32_t, 4> Philox(uint64_t counter, uint64_t key) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               0, 0};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

uint64_t StreamKey(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  const std::array<uint32_t, 4> mixed = Philox(hash, seed);
  return (uint64_t{mixed[1]} << 32) | mixed[0];
}

double NormalFromWord(uint32_t word) {
  const double u = UniformFromWord(word);
  const double q = u - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = std::fma(-q, q, 0.180625);
    return q *
           Polynomial(r, {5.9109374720e+01, 1.5929113202e+02, 5.0434271938e+01, 3.3871327179e+00}) /
           Polynomial(r, {6.7187563600e+01, 7.8757757664e+01, 1.7895169469e+01, 1.0});
  }
  const double tail = std::sqrt(-Log(q < 0 ? u : 1.0 - u));
  const double r = tail - 1.6;  // a 32-bit word keeps the tail below 5: one region is enough
  const double value =
      Polynomial(r, {1.7023821103e-01, 1.3067284816e+00, 2.7568153900e+00, 1.4234372777e+00}) /
      Polynomial(r, {1.2021132975e-01, 7.3700164250e-01, 1.0});
  return q < 0 ? -value : value;
}

double InitialValue(const Init& init, uint64_t key, int64_t index) {
  if (init.kind == Init::Kind::kConstant) return init.a;
  const uint32_t word = Philox(static_cast<uint64_t>(index) / 4, key)[index % 4];
  switch (init.kind) {
    case Init::Kind::kConstant:
      break;
    case Init::Kind::kNormal:
      return init.a * NormalFromWord(word);
    case Init::Kind::kUniform:
      return std::fma(UniformFromWord(word), init.b - init.a, init.a);
    case Init::Kind::kLogOfUniform:
      return Log(std::fma(UniformFromWord(word), init.b - init.a, init.a));
    case Init::Kind::kInverseSoftplus: {
      const double low = Log(init.a);
      const double dt =
          std::max(Exp(std::fma(UniformFromWord(word), Log(init.b) - low, low)), 1e-4);
      return dt + Log(1.0 - Exp(-dt));
    }
  }
  return init.a;
}

absl::Status Initialize(const ParameterSpec& spec, const Shard& shard, uint64_t seed,
                        TensorView value) {
  CHECK(std::ranges::equal(value.dims(), shard.shape)) << spec.name;
  const uint64_t key = StreamKey(seed, spec.name);
  switch (value.dtype()) {
    case DType::kF64:
      Fill(spec, shard, key, value.values<double>().data());
      return absl::OkStatus();
    case DType::kF32:
      Fill(spec, shard, key, value.values<float>().data());
      return absl::OkStatus();
    case DType::kBF16:
      Fill(spec, shard, key, value.values<BFloat16>().data());
      return absl::OkStatus();
    default:
      return ExpectDType(spec.name, value, DType::kF32);
  }
}

}  // namespace hetero
