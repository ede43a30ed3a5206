#include "hetero/trainer/feed/sample_probe.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/feed/sample_reader.h"

namespace hetero {
namespace {

// One is read while the one before is waited for.
constexpr size_t kStepsAhead = 2;

// Of all microbatches of `step`.
absl::Status FindBad(const BatchFeedOptions& options, data::SampleSource& source,
                     SampleReader& reader, int64_t step, std::vector<int64_t>& bad) {
  const data::BatchLayout& batch = options.batch;
  const std::vector<int> media = options.reads_features ? options.reads : std::vector<int>();
  bad.clear();
  for (int64_t m = 0; m < batch.SizeOf(step) / batch.samples_per_microbatch; ++m) {
    const data::SampleRange range = data::LaneSamples(batch, options.position, step, m);
    for (int64_t place = range.begin; place < range.begin + range.size; ++place) {
      const data::RowSamples row = options.samples->order.RowAt(place);
      for (size_t i = 0; i < row.size(); ++i) {
        const absl::Status read = reader.Read(source, row[i].index, options.reads_tokens, media);
        if (read.ok()) continue;
        if (!absl::IsDataLoss(read)) return Annotate(read, absl::StrCat("microbatch ", m));
        bad.push_back(row[i].index);
      }
    }
  }
  std::ranges::sort(bad);
  bad.erase(std::ranges::unique(bad).begin(), bad.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SampleProbe>> SampleProbe::Create(
    std::shared_ptr<const BatchFeedOptions> options, LoaderWatch& watch) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, watch.Open());
  auto find = [options, source = std::move(source),
               reader = SampleReader(options->modalities.size())](
                  int64_t step, std::vector<int64_t>& bad) mutable {
    return FindBad(*options, *source, reader, step, bad);
  };
  HETERO_ASSIGN_OR_RETURN(
      std::unique_ptr<Steps> steps,
      Steps::Create(std::vector<std::vector<int64_t>>(kStepsAhead), std::move(find)));
  return std::unique_ptr<SampleProbe>(new SampleProbe(std::move(options), watch, std::move(steps)));
}

absl::StatusOr<std::vector<int64_t>> SampleProbe::Bad(int64_t step) {
  HETERO_ASSIGN_OR_RETURN(const data::BatchLease<std::vector<int64_t>> found,
                          steps_->Take(step, watch_.check(), watch_.tick()));
  std::vector<int64_t> bad;
  // One that was read ahead may have come into quarantine with an earlier step.
  std::ranges::copy_if(*found, std::back_inserter(bad), [&](int64_t index) {
    return !options_->samples->quarantine->samples->Has(index);
  });
  return bad;
}

}  // namespace hetero
