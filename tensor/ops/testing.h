#ifndef HETERO_TENSOR_OPS_TESTING_H_
#define HETERO_TENSOR_OPS_TESTING_H_

// What tests and benchmarks of operations share: tensors that own host memory, and streams with
// their workspace.

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Host memory with dims. New elements are NaN (0 for integers), so that a kernel that forgets to
// write one is seen.
template <typename T>
class HostTensor {
 public:
  HostTensor(std::initializer_list<int64_t> dims)  // NOLINT: HostTensor<float> x({2, 3})
      : dims_(dims) {
    int64_t count = 1;
    for (int64_t dim : dims_) count *= dim;
    values_.reserve(1);  // a tensor without elements is not a null view
    values_.assign(count, std::numeric_limits<T>::quiet_NaN());
  }
  HostTensor(std::initializer_list<int64_t> dims, std::vector<T> values) : HostTensor(dims) {
    CHECK_EQ(values_.size(), values.size());
    values_ = std::move(values);
    values_.reserve(1);
  }

  // Independent draws from N(0, stddev²).
  template <typename Generator>
  static HostTensor Normal(std::initializer_list<int64_t> dims, Generator& generator,
                           double stddev = 1.0) {
    HostTensor tensor(dims);
    std::normal_distribution<double> distribution(0.0, stddev);
    for (T& value : tensor.values_) value = static_cast<T>(distribution(generator));
    return tensor;
  }

  // The same numbers in another type.
  template <typename U>
  HostTensor<U> As() const {
    HostTensor<U> other({});
    other.dims_ = dims_;
    other.values_.assign(values_.begin(), values_.end());
    other.values_.reserve(1);
    return other;
  }

  TensorView view() {
    return TensorView(values_.data(), kDTypeOf<T>, std::span<const int64_t>(dims_));
  }
  ConstTensorView view() const {
    return ConstTensorView(values_.data(), kDTypeOf<T>, std::span<const int64_t>(dims_));
  }
  std::vector<T>& values() { return values_; }
  const std::vector<T>& values() const { return values_; }
  T& operator[](int64_t i) { return values_[i]; }
  const T& operator[](int64_t i) const { return values_[i]; }

 private:
  template <typename U>
  friend class HostTensor;

  std::vector<int64_t> dims_;
  std::vector<T> values_;
};

// A stream and the workspace it allocates scratch from.
class StreamWithWorkspace {
 public:
  explicit StreamWithWorkspace(DeviceKind kind = DeviceKind::kCpu)
      : StreamWithWorkspace(Device{kind}) {}

  explicit StreamWithWorkspace(Device device)
      : workspace_(
            device.kind == DeviceKind::kShapeOnly
                ? Arena::Counting(MemoryLabel::kWorkspace)
                : Arena::Create(device, MemoryLabel::kWorkspace, WorkspaceBytes(device), memory_)
                      .value()),
        stream_(Stream::Create(device, workspace_).value()) {}

  Stream& operator*() { return *stream_; }
  Stream* operator->() { return stream_.get(); }

 private:
  static int64_t WorkspaceBytes(Device device) { return int64_t{device.IsCuda() ? 256 : 8} << 20; }

  MemoryLedger memory_;
  Arena workspace_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_TESTING_H_
