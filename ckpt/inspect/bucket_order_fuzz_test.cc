// Any bytes as an order of parameters: what is accepted lies inside of its tensors, and its sizes
// have sums.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/inspect/bucket_order.h"
#include "hetero/ckpt/plan/box.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero;  // NOLINT: the function lives outside the namespace
  const absl::StatusOr<std::vector<BucketGroup>> groups =
      ParseBucketOrder({reinterpret_cast<const char*>(data), size});
  if (!groups.ok()) return 0;
  for (const BucketGroup& group : *groups) {
    for (const BucketParameter& parameter : group.parameters) {
      int64_t elements = 0;
      for (const BucketPart& part : parameter) {
        CHECK(IsInside(part.box, part.shape));
        CHECK(!__builtin_add_overflow(elements, NumElements(part.box), &elements));
      }
    }
  }
  return 0;
}
