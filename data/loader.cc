#include "hetero/data/loader.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// Walks the microbatches of a lane and gives each its place and samples.
template <typename Batch, typename Build>
absl::StatusOr<std::unique_ptr<Prefetcher<Batch>>> MakeLoader(const LoaderOptions& options,
                                                              Build build) {
  HETERO_RETURN_IF_ERROR(Validate(options));
  return Prefetcher<Batch>::Create(
      options.prefetch_depth,
      [options, build = std::move(build)](int64_t n, Batch& out) mutable -> absl::Status {
        const int64_t num_microbatches = options.layout.NumMicrobatches();
        out.step = options.first_step + n / num_microbatches;
        out.microbatch = n % num_microbatches;
        const SampleRange range =
            LaneSamples(options.layout, options.position, out.step, out.microbatch);
        HETERO_RETURN_IF_ERROR(build(range, out))
            .With(absl::StrFormat("step %d, microbatch %d", out.step, out.microbatch));
        return absl::OkStatus();
      });
}

}  // namespace

absl::Status Validate(const LoaderOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options.layout, options.position));
  if (options.first_step < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("first_step is %d; it is at least 0", options.first_step));
  }
  if (options.prefetch_depth < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("prefetch_depth is %d; it is at least 1", options.prefetch_depth));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LanguageLoader>> MakeLanguageLoader(
    std::unique_ptr<SampleSource> source, const LoaderOptions& options, const RowFormat& format) {
  return MakeLoader<LanguageBatch>(
      options, [source = std::move(source), order = options.order, format,
                scratch = LanguageSample()](SampleRange range, LanguageBatch& out) mutable {
        return BuildLanguageBatch(*source, order, range, format, scratch, out);
      });
}

absl::StatusOr<std::unique_ptr<MediaLoader>> MakeMediaLoader(std::unique_ptr<SampleSource> source,
                                                             int modality,
                                                             const LoaderOptions& options) {
  return MakeLoader<MediaBatch>(options, [source = std::move(source), order = options.order,
                                          modality](SampleRange range, MediaBatch& out) mutable {
    return BuildMediaBatch(*source, order, range, modality, out);
  });
}

}  // namespace hetero::data
