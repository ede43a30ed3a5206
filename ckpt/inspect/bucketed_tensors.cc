#include "hetero/ckpt/inspect/bucketed_tensors.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/coverage.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/params/bucket_plan.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

// Elements of a bucket that are a box of a tensor.
struct Place {
  Box box;
  std::string bucket;
  int64_t begin = 0;
};

std::string BucketKey(const BucketGroup& group, int64_t bucket, std::string_view kind) {
  return absl::StrCat(group.buckets, ".bucket_idx_", bucket, ".", kind);
}

int64_t ElementsOf(const BucketParameter& parameter) {
  int64_t count = 0;
  for (const BucketPart& part : parameter) count += NumElements(part.box);
  return count;
}

class BucketedTensors : public StoredTensors {
 public:
  explicit BucketedTensors(std::unique_ptr<StoredTensors> stored) : stored_(std::move(stored)) {
    heads_ = stored_->heads();
    order_ = stored_->order();
  }

  absl::Status Add(const BucketGroup& group) {
    const std::string first = BucketKey(group, 0, "");
    std::vector<std::string> kinds;
    for (auto at = stored_->heads().lower_bound(first);
         at != stored_->heads().end() && absl::StartsWith(at->first, first); ++at) {
      kinds.push_back(at->first.substr(first.size()));
    }
    if (kinds.empty()) {
      return absl::NotFoundError(absl::StrCat("the checkpoint has no ", first, "param"));
    }
    for (const std::string& kind : kinds) {
      HETERO_RETURN_IF_ERROR(Add(group, kind));
    }
    return absl::OkStatus();
  }

  absl::Status CheckWhole() const {
    for (const auto& [key, places] : places_) {
      std::vector<CoveringBox> boxes;
      for (const Place& place : places) boxes.push_back({.box = place.box, .holder = place.bucket});
      HETERO_RETURN_IF_ERROR(CheckCoverage(key, heads_.find(key)->second.shape, boxes));
    }
    return absl::OkStatus();
  }

  using StoredTensors::Read;
  absl::Status Read(std::string_view key, const Box& box, std::span<std::byte> out) const override {
    const auto places = places_.find(key);
    if (places == places_.end()) return stored_->Read(key, box, out);
    for (const Place& place : places->second) {
      const std::optional<Box> region = Intersect(box, place.box);
      if (!region.has_value()) continue;
      HETERO_RETURN_IF_ERROR(Read(key, place, *region, box, out));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Add(const BucketGroup& group, std::string_view kind) {
    int64_t bucket = 0, begin = 0, end = 0;
    // The elements of the bucket that is filled; nothing behind the last one.
    std::optional<int64_t> size = SizeOf(group, bucket, kind);
    for (size_t i = group.parameters.size(); i-- > 0;) {
      const BucketParameter& parameter = group.parameters[i];
      end = begin + ElementsOf(parameter);
      if (!size.has_value() || end > *size) return DoesNotFit(group, bucket, kind, i, end, size);
      int64_t at = begin;
      for (const BucketPart& part : parameter) {
        HETERO_RETURN_IF_ERROR(Add(group, kind, part, BucketKey(group, bucket, kind), at));
        at += NumElements(part.box);
      }
      begin = RoundUp(end, BucketPlan::kParameterAlignment);
      // Before a parameter that has a bucket to itself the end is rounded too.
      if (end == *size || begin == *size) {
        begin = end = 0;
        size = SizeOf(group, ++bucket, kind);
      }
    }
    if (!size.has_value()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(BucketKey(group, bucket, kind), " has ", *size, " elements, of which ", end,
                     " are those of the parameters that are listed", kReason));
  }

  absl::Status Add(const BucketGroup& group, std::string_view kind, const BucketPart& part,
                   const std::string& bucket, int64_t begin) {
    const std::string key = absl::StrCat(group.prefix, kind, ".", part.key);
    const TensorHead head = {.type = stored_->heads().find(bucket)->second.type,
                             .shape = part.shape};
    const auto [known, is_first] = heads_.emplace(key, head);
    if (!is_first && (known->second != head || !places_.contains(key))) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, " is ", head.ToString(), " and ", known->second.ToString()));
    }
    heads_.erase(bucket);
    std::vector<Place>& places = places_[key];
    // Of parameters that tensor-parallel ranks hold alike one is enough.
    if (std::ranges::find(places, part.box, &Place::box) == places.end()) {
      places.push_back({.box = part.box, .bucket = bucket, .begin = begin});
    }
    return absl::OkStatus();
  }

  std::optional<int64_t> SizeOf(const BucketGroup& group, int64_t bucket,
                                std::string_view kind) const {
    const auto head = stored_->heads().find(BucketKey(group, bucket, kind));
    if (head == stored_->heads().end()) return std::nullopt;
    return NumElements(head->second.shape);
  }

  static absl::Status DoesNotFit(const BucketGroup& group, int64_t bucket, std::string_view kind,
                                 size_t parameter, int64_t end, std::optional<int64_t> size) {
    return absl::FailedPreconditionError(absl::StrCat(
        BucketKey(group, bucket, kind),
        size.has_value() ? absl::StrCat(" has ", *size, " elements") : " is not stored", "; ",
        group.parameters[parameter].front().key, ", parameter ", parameter + 1, ", would end at ",
        end, kReason));
  }

  // All from the first to the last wanted element of the bucket is read at once.
  absl::Status Read(std::string_view key, const Place& place, const Box& region, const Box& box,
                    std::span<std::byte> out) const {
    const TensorHead& head = heads_.find(key)->second;
    const std::optional<DType> dtype = DTypeOf(head.type);
    if (!dtype.has_value()) {
      return absl::UnimplementedError(
          absl::StrCat(key, ": elements of ", Name(head.type), " are not read"));
    }
    const int64_t element = hetero::SizeOf(*dtype);
    const std::vector<RunRows> runs =
        RunsOf(region, place.box, box, ConstTensorView(out.data(), *dtype, box.size));
    const RunRows& last = runs.back();
    const int64_t first = runs.front().dense;
    const int64_t count = last.dense + (last.rows - 1) * last.dense_stride + last.run - first;
    std::vector<std::byte> elements(count * element);
    HETERO_RETURN_IF_ERROR(stored_->Read(place.bucket, {{place.begin + first}, {count}}, elements));
    for (const RunRows& rows : runs) {
      for (int64_t row = 0; row < rows.rows; ++row) {
        std::memcpy(out.data() + (rows.local + row * rows.local_stride) * element,
                    elements.data() + (rows.dense + row * rows.dense_stride - first) * element,
                    rows.run * element);
      }
    }
    return absl::OkStatus();
  }

  static constexpr std::string_view kReason =
      ": the checkpoint is of other sizes of tensor, pipeline or expert parallelism, or of "
      "parameters in another order";

  std::unique_ptr<StoredTensors> stored_;
  std::map<std::string, std::vector<Place>, std::less<>> places_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StoredTensors>> OutOfBuckets(std::unique_ptr<StoredTensors> stored,
                                                            std::span<const BucketGroup> groups) {
  auto tensors = std::make_unique<BucketedTensors>(std::move(stored));
  for (const BucketGroup& group : groups) {
    HETERO_RETURN_IF_ERROR(tensors->Add(group));
  }
  HETERO_RETURN_IF_ERROR(tensors->CheckWhole());
  return tensors;
}

}  // namespace hetero
