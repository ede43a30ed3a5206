#include "hetero/tensor/view.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {

template <bool kMutable>
std::string BasicTensorView<kMutable>::ToString() const {
  if (is_null() && rank_ == 0) return "null";
  std::string text = absl::StrCat(Name(dtype_), "[", absl::StrJoin(dims(), ","), "]");
  if (!is_contiguous()) {
    absl::StrAppend(&text, " strides [",
                    absl::StrJoin(std::span(strides_.data(), static_cast<size_t>(rank_)), ","),
                    "]");
  }
  return text;
}

template class BasicTensorView<true>;
template class BasicTensorView<false>;

}  // namespace hetero
