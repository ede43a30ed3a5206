#include "hetero/params/init.h"

#include <algorithm>

#include "absl/log/check.h"
#include "hetero/base/status.h"

namespace hetero {

absl::Status Initialize(const ParameterSpec& spec, const Shard& shard, uint64_t seed,
                        const TensorView& value, Stream& stream) {
  CHECK(std::ranges::equal(value.dims(), shard.shape)) << spec.name;
  const uint64_t key = StreamKey(seed, spec.name);
  for (const ShardBox& box : shard.boxes) {
    TensorView part = value;
    for (int d = 0; d < value.rank(); ++d) {
      part = part.Slice(d, box.local_begin[d], box.extent[d]);
    }
    HETERO_RETURN_IF_ERROR(
        FillInitialValues(spec.init, key, spec.shape, box.logical_begin, part, stream))
        .With(spec.name);
  }
  return absl::OkStatus();
}

}  // namespace hetero
