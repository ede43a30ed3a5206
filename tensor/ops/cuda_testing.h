#ifndef HETERO_TENSOR_OPS_CUDA_TESTING_H_
#define HETERO_TENSOR_OPS_CUDA_TESTING_H_

// What tests of an operation's CUDA side share. The pattern: draw values that the storage type
// holds exactly, run the CPU pair on them in f64 and the GPU in f32 or bf16, compare.
//
//   class SiluCudaTest : public ::testing::TestWithParam<DType> {};
//   TEST_P(SiluCudaTest, EqualsTheCpu) {
//     StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
//     const auto x = NormalFor(GetParam(), {5, 37}, generator);
//     HostTensor<double> expected({5, 37});
//     ASSERT_THAT(Silu(x.view(), expected.view(), *cpu), IsOk());
//     DeviceTensor device_x(GetParam(), x, *gpu);
//     DeviceTensor y(GetParam(), {5, 37}, *gpu);
//     ASSERT_THAT(Silu(device_x.view(), y.view(), *gpu), IsOk());
//     EXPECT_THAT(y.Values(), IsCloseTo(expected.values(), {.relative = 4 * Epsilon(GetParam())}));
//   }
//   INSTANTIATE_TEST_SUITE_P(DTypes, SiluCudaTest, ::testing::Values(DType::kF32, DType::kBF16),
//                            DTypeName);

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {

// Distance from 1 to the next number of a floating type, the unit of tolerances.
inline double Epsilon(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return 0x1p-7;
    case DType::kF64:
      return Epsilon<double>();
    default:
      return Epsilon<float>();
  }
}

inline std::string DTypeName(const ::testing::TestParamInfo<DType>& info) {
  return std::string(Name(info.param));
}

namespace internal {

// Calls `function(T*, elements)` with the element type of a host view.
template <typename Function>
void VisitElements(const TensorView& host, Function&& function) {
  const int64_t n = host.num_elements();
  switch (host.dtype()) {
    case DType::kF64:
      return function(host.data<double>(), n);
    case DType::kF32:
      return function(host.data<float>(), n);
    case DType::kBF16:
      return function(host.data<BFloat16>(), n);
    case DType::kI32:
      return function(host.data<int32_t>(), n);
    case DType::kI64:
      return function(host.data<int64_t>(), n);
  }
}

template <typename T>
T FromDouble(double value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return BFloat16(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}

template <typename T>
double AsDouble(T value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return static_cast<float>(value);
  } else {
    return static_cast<double>(value);
  }
}

}  // namespace internal

// Rounded to what `dtype` holds.
inline std::vector<double> RoundedTo(DType dtype, std::vector<double> values) {
  for (double& value : values) {
    if (dtype != DType::kF64) value = static_cast<float>(value);
    if (dtype == DType::kBF16) value = static_cast<float>(BFloat16(static_cast<float>(value)));
  }
  return values;
}

// Draws from N(0, stddev²), rounded to what `dtype` holds.
template <typename Generator>
HostTensor<double> NormalFor(DType dtype, std::initializer_list<int64_t> dims, Generator& generator,
                             double stddev = 1.0) {
  auto tensor = HostTensor<double>::Normal(dims, generator, stddev);
  tensor.values() = RoundedTo(dtype, std::move(tensor.values()));
  return tensor;
}

// Sets all elements of a dense view on the stream's device, converted to its type.
inline void SetElements(const TensorView& view, std::span<const double> values, Stream& stream) {
  CHECK_EQ(static_cast<int64_t>(values.size()), view.num_elements());
  MemoryLedger memory;
  const PinnedBuffer staging =
      PinnedBuffer::Allocate(stream.device(), view.num_bytes(), memory).value();
  const TensorView host = staging.View(view.dtype(), {view.num_elements()});
  internal::VisitElements(host, [&]<typename T>(T* elements, int64_t n) {
    for (int64_t i = 0; i < n; ++i) elements[i] = internal::FromDouble<T>(values[i]);
  });
  CHECK_OK(CopyToDevice(host, view.Reshape({view.num_elements()}), stream));
  CHECK_OK(stream.Synchronize());
}

// All elements of a dense view, once the stream has come here.
inline std::vector<double> ElementsOf(const ConstTensorView& view, Stream& stream) {
  MemoryLedger memory;
  const PinnedBuffer staging =
      PinnedBuffer::Allocate(stream.device(), view.num_bytes(), memory).value();
  const TensorView host = staging.View(view.dtype(), {view.num_elements()});
  CHECK_OK(CopyToHost(view.Reshape({view.num_elements()}), host, stream));
  CHECK_OK(stream.Synchronize());
  std::vector<double> values;
  internal::VisitElements(host, [&]<typename T>(T* elements, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values.push_back(internal::AsDouble(elements[i]));
  });
  return values;
}

// A matrix that is a slice of a wider one: its columns stand behind `gap` others.
struct SliceExtents {
  int64_t rows, columns, gap;

  friend void PrintTo(const SliceExtents& e, std::ostream* out) {
    *out << e.rows << "x" << e.columns << "+" << e.gap;
  }
};

// A tensor in the memory of a stream's GPU, with the bits of the host's values in another type. It
// lies in the middle of poisoned memory: writes outside it are seen when it is destroyed.
class DeviceTensor {
 public:
  // New elements are NaN; the largest number for integers.
  DeviceTensor(DType dtype, std::initializer_list<int64_t> dims, Stream& stream)
      : DeviceTensor(dtype, std::span<const int64_t>(dims.begin(), dims.size()), stream) {}

  // The values of `host`, converted.
  template <typename T>
  DeviceTensor(DType dtype, const HostTensor<T>& host, Stream& stream)
      : DeviceTensor(dtype, host.view().dims(), stream) {
    std::vector<double> values;
    for (const T& value : host.values()) values.push_back(static_cast<double>(value));
    Set(values);
  }

  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  ~DeviceTensor() {
    const std::vector<double> all = ElementsOf(all_, stream_);
    for (int64_t i = 0; i < kMargin; ++i) {
      for (const int64_t at : {i, static_cast<int64_t>(all.size()) - 1 - i}) {
        if (IsPoison(all[at])) continue;
        ADD_FAILURE() << "element " << at - kMargin << " outside " << view().ToString()
                      << " was written";
        return;
      }
    }
  }

  TensorView view() const { return view_; }

  void Set(std::span<const double> values) { SetElements(view_, values, stream_); }

  // All elements once the stream has come here; element type T's bits for comparing runs bitwise.
  std::vector<double> Values() const {
    const std::vector<double> all = ElementsOf(all_, stream_);
    return {all.begin() + kMargin, all.end() - kMargin};
  }
  std::vector<uint8_t> Bits() const {
    MemoryLedger memory;
    const PinnedBuffer staging =
        PinnedBuffer::Allocate(stream_.device(), view_.num_bytes(), memory).value();
    const TensorView host = staging.View(view_.dtype(), {view_.num_elements()});
    CHECK_OK(CopyToHost(view_.Reshape({view_.num_elements()}), host, stream_));
    CHECK_OK(stream_.Synchronize());
    const auto* bytes = static_cast<const uint8_t*>(host.address());
    return {bytes, bytes + host.num_bytes()};
  }

 private:
  static constexpr int64_t kMargin = 128;  // elements; keeps the alignment of 256 bytes

  DeviceTensor(DType dtype, std::span<const int64_t> dims, Stream& stream) : stream_(stream) {
    int64_t count = 1;
    for (const int64_t dim : dims) count *= dim;
    const int64_t bytes = (count + 2 * kMargin) * SizeOf(dtype);
    buffer_ = Buffer::Allocate(stream.device(), MemoryLabel::kData, bytes, memory_).value();
    all_ = buffer_.View(dtype, {count + 2 * kMargin});
    view_ = TensorView(all_.Rows(kMargin, count).address(), dtype, dims);
    SetElements(all_, std::vector<double>(all_.num_elements(), Poison()), stream_);
  }

  double Poison() const {
    return IsFloating(all_.dtype()) ? std::numeric_limits<double>::quiet_NaN()
                                    : std::numeric_limits<int32_t>::max();
  }
  bool IsPoison(double value) const {
    return IsFloating(all_.dtype()) ? value != value : value == Poison();
  }

  Stream& stream_;
  MemoryLedger memory_;
  Buffer buffer_;
  TensorView all_;
  TensorView view_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CUDA_TESTING_H_
