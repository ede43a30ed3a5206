#ifndef HETERO_TENSOR_VIEW_H_
#define HETERO_TENSOR_VIEW_H_

// TensorView and ConstTensorView: typed, strided windows on memory they do not own. The last dim
// is always contiguous; strides count elements. On the shape-only device the address is a token
// that nothing dereferences.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "absl/log/check.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

inline constexpr int kMaxRank = 5;

template <bool kMutable>
class BasicTensorView {
 public:
  using Address = std::conditional_t<kMutable, void*, const void*>;
  template <typename T>
  using Pointer = std::conditional_t<kMutable, T*, const T*>;

  BasicTensorView() = default;  // null: no memory, no elements

  // Contiguous, row-major. Precondition: at most kMaxRank dims, none negative.
  BasicTensorView(Address data, DType dtype, std::span<const int64_t> dims)
      : data_(data), dtype_(dtype), rank_(static_cast<int>(dims.size())) {
    CHECK_LE(rank_, kMaxRank);
    int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      CHECK_GE(dims[i], 0);
      dims_[i] = dims[i];
      strides_[i] = stride;
      stride *= dims[i];
    }
  }
  BasicTensorView(Address data, DType dtype, std::initializer_list<int64_t> dims)
      : BasicTensorView(data, dtype, std::span<const int64_t>(dims.begin(), dims.size())) {}

  template <typename T>
  BasicTensorView(std::span<T> values, std::initializer_list<int64_t> dims)
      : BasicTensorView(values.data(), kDTypeOf<std::remove_const_t<T>>, dims) {
    CHECK_EQ(num_elements(), static_cast<int64_t>(values.size()));
  }

  // A mutable view reads as a const one.
  template <bool kOther>
  requires(kOther && !kMutable)
      BasicTensorView(const BasicTensorView<kOther>& other)  // NOLINT: implicit by design
      : data_(other.data_),
        dtype_(other.dtype_),
        rank_(other.rank_),
        dims_(other.dims_),
        strides_(other.strides_) {}

  bool is_null() const { return data_ == nullptr; }
  DType dtype() const { return dtype_; }
  int rank() const { return rank_; }
  int64_t dim(int i) const {
    DCHECK_LT(i, rank_);
    return dims_[i];
  }
  int64_t stride(int i) const { return strides_[i]; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  int64_t num_elements() const {
    int64_t count = is_null() && rank_ == 0 ? 0 : 1;
    for (int i = 0; i < rank_; ++i) count *= dims_[i];
    return count;
  }
  int64_t num_bytes() const { return num_elements() * SizeOf(dtype_); }
  bool is_contiguous() const {
    int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      if (dims_[i] != 1 && strides_[i] != stride) return false;
      stride *= dims_[i];
    }
    return true;
  }

  Address address() const { return data_; }

  // Precondition: T is the element type.
  template <typename T>
  Pointer<T> data() const {
    CHECK(kDTypeOf<T> == dtype_) << "view of " << Name(dtype_) << " read as " << Name(kDTypeOf<T>);
    return static_cast<Pointer<T>>(data_);
  }

  // All elements. Precondition: contiguous.
  template <typename T>
  std::span<std::remove_pointer_t<Pointer<T>>> values() const {
    CHECK(is_contiguous());
    return {data<T>(), static_cast<size_t>(num_elements())};
  }

  // Entries [begin, begin + count) of dim `d`. Precondition: inside the dim.
  BasicTensorView Slice(int d, int64_t begin, int64_t count) const {
    CHECK(d < rank_ && begin >= 0 && count >= 0 && begin + count <= dims_[d])
        << "slice [" << begin << ", " << begin + count << ") of dim " << d << " of " << ToString();
    BasicTensorView view = *this;
    view.data_ = Offset(begin * strides_[d]);
    view.dims_[d] = count;
    return view;
  }
  BasicTensorView Rows(int64_t begin, int64_t count) const { return Slice(0, begin, count); }
  BasicTensorView Columns(int64_t begin, int64_t count) const {
    return Slice(rank_ - 1, begin, count);
  }

  // The entry `i` of dim 0, one dim less.
  BasicTensorView At(int64_t i) const {
    BasicTensorView view = Rows(i, 1);
    for (int j = 1; j < rank_; ++j) {
      view.dims_[j - 1] = dims_[j];
      view.strides_[j - 1] = strides_[j];
    }
    view.rank_ = rank_ - 1;
    return view;
  }

  // Same elements in other dims. Precondition: contiguous, equal element count.
  BasicTensorView Reshape(std::span<const int64_t> dims) const {
    CHECK(is_contiguous());
    BasicTensorView view(data_, dtype_, dims);
    CHECK_EQ(view.num_elements(), num_elements());
    return view;
  }
  BasicTensorView Reshape(std::initializer_list<int64_t> dims) const {
    return Reshape(std::span<const int64_t>(dims.begin(), dims.size()));
  }

  // "f32[384,128]", with strides where the view is not contiguous.
  std::string ToString() const;

 private:
  friend class BasicTensorView<!kMutable>;

  Address Offset(int64_t elements) const {
    using Byte = std::conditional_t<kMutable, char, const char>;
    return static_cast<Byte*>(data_) + elements * SizeOf(dtype_);
  }

  Address data_ = nullptr;
  DType dtype_ = DType::kF32;
  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_ = {};
  std::array<int64_t, kMaxRank> strides_ = {};
};

using TensorView = BasicTensorView<true>;
using ConstTensorView = BasicTensorView<false>;

}  // namespace hetero

#endif  // HETERO_TENSOR_VIEW_H_
