#include "hetero/data/packing/plan_rows.h"

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/packing/selector.h"
#include "hetero/data/sample_order.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

// Rows that leave more empty are planned anew with what comes next.
constexpr double kMinFill = 0.98;

// The sizes of samples in the order of one epoch.
class ItemReader {
 public:
  ItemReader(SampleSource& source, const SampleOrder& order, const RowPlanOptions& options,
             const LongWork& work)
      : source_(source), order_(order), options_(options), work_(work) {}

  absl::StatusOr<std::optional<PackItem>> Next() {
    do {
      if (place_ == source_.size()) return std::nullopt;
      HETERO_RETURN_IF_ERROR(work_.Continue("the plan of rows"));
      HETERO_RETURN_IF_ERROR(source_.ReadLanguage(*order_.DatasetIndex(place_++), language_));
    } while (language_.NumTokens() == 0);
    const int64_t index = *order_.DatasetIndex(place_ - 1);
    indices_.push_back(index);
    facts_.modalities.assign(static_cast<size_t>(options_.num_modalities), {});
    HETERO_RETURN_IF_ERROR(source_.ReadFacts(index, facts_));
    PackItem item = {.length = language_.NumTokens(),
                     .num_patches = language_.NumPlaceholders() * options_.patches_per_token};
    for (const ModalityFacts& modality : facts_.modalities) {
      item.num_images += static_cast<int64_t>(modality.sizes.size());
    }
    if (!Fits(item, options_.limits)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "sample %s has %d tokens, %d patches and %d images; a row holds %d, %d and %d",
          language_.name, item.length, item.num_patches, item.num_images, options_.limits.length,
          options_.limits.num_patches, options_.limits.num_images));
    }
    return item;
  }

  // Of the sample that Next gave after `number` others.
  int64_t IndexOf(int64_t number) const { return indices_[static_cast<size_t>(number)]; }

 private:
  SampleSource& source_;
  const SampleOrder& order_;
  const RowPlanOptions& options_;
  const LongWork& work_;
  int64_t place_ = 0;
  std::vector<int64_t> indices_;
  LanguageSample language_;
  SampleFacts facts_;
};

}  // namespace

absl::StatusOr<RowPlan> PlanRows(SampleSource& source, const RowPlanOptions& options,
                                 const LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(const SampleOrder order,
                          SampleOrder::Shuffled(source.size(), options.seed));
  ItemReader reader(source, order, options, work);
  Packer packer(
      {.limits = options.limits,
       .buffer_size = options.buffer_size,
       .select =
           [&](std::span<const PackItem> items) { return SelectGreedy(items, options.limits); },
       .min_fill = kMinFill},
      [&] { return reader.Next(); });
  auto rows = std::make_shared<RowTable>();
  std::vector<RowSample> row;
  while (true) {
    HETERO_ASSIGN_OR_RETURN(const std::optional<PackedGroup> group, packer.Next());
    if (!group.has_value()) break;
    row.clear();
    for (const PackedSample& sample : *group) {
      row.push_back({.index = reader.IndexOf(sample.number), .length = sample.item.length});
    }
    rows->Add(row);
  }
  return RowPlan{.rows = std::move(rows), .fill_rate = packer.state().FillRate(options.limits)};
}

}  // namespace hetero::data
