#ifndef HETERO_TRAINER_FEED_MICROBATCH_WRITER_H_
#define HETERO_TRAINER_FEED_MICROBATCH_WRITER_H_

// Samples to the columns and features that a stage reads, in the types that it reads.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/host_microbatch.h"
#include "hetero/trainer/feed/media_shares.h"

namespace hetero {

// A row of S tokens is a sample, its placeholders and its text, or several, then padding. Tokens
// lie row after row, t = row * S + position. What is said of a sample here is said of a row. Places
// behind the end of a one-pass order are rows of padding without loss and without media.
//
// Where media stay with their samples it allocates nothing once it has met the largest one. One
// thread uses a writer.
class MicrobatchWriter {
 public:
  MicrobatchWriter(std::shared_ptr<const BatchFeedOptions> options,
                   std::unique_ptr<data::SampleSource> source,
                   std::shared_ptr<MediaShares> shares = nullptr);

  // Overwrites `out` with a microbatch of this lane, once no copy reads what it had.
  // Errors: those of the source, with the microbatch; INVALID_ARGUMENT naming the sample when
  // its placeholders are not as many as its media's rows, a token is outside the vocabulary, or the
  // sample or the microbatch is above the limits; INTERNAL what the device ran into.
  absl::Status Write(int64_t step, int microbatch, HostMicrobatch& out);

 private:
  // Of samples `range` of the run's order, whose facts are read, here and below. `shares`: null
  // where media stay with their samples.
  absl::Status WriteAll(data::SampleRange range, const MicrobatchShares* shares,
                        HostMicrobatch& out);
  absl::Status WriteTokens(data::SampleRange range, HostMicrobatch& out);
  // Of the sample in row_, here and below.
  absl::Status CheckPlaceholders(const SampleFacts& facts) const;
  void SplitRow(int64_t row, HostMicrobatch& out);
  void AddBorders(int64_t row, HostMicrobatch& out);
  // Of the modality at place `read` of what is read, here and below.
  absl::Status WriteFeatures(data::SampleRange range, size_t read, HostMicrobatch& out);
  // Of all samples of the microbatch, the first at `begin` of the run's order, what is this lane's.
  absl::Status WriteShare(int64_t begin, const MicrobatchShares& shares, size_t read,
                          HostMicrobatch& out);
  // media_, of the sample at `place` of the run's order, where its facts say `num_tokens`.
  absl::Status AddFeatures(int64_t place, int64_t num_tokens, size_t read, HostMicrobatch& out);
  void WriteSizes(size_t read, const MicrobatchShares* shares, HostMicrobatch& out) const;
  // Its place where it has none.
  std::string SampleName(int64_t place);

  std::shared_ptr<const BatchFeedOptions> options_;
  std::unique_ptr<data::SampleSource> source_;
  std::shared_ptr<MediaShares> shares_;
  data::RowFormat format_;

  // Of the microbatch; of each modality where the positions of its placeholders that this rank owns
  // go and how many do so far.
  std::vector<SampleFacts> facts_;
  std::vector<std::span<int32_t>> positions_;
  std::vector<int64_t> num_placed_;

  // Of one sample.
  data::LanguageSample language_;
  data::LanguageBatch row_;
  data::MediaBatch media_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_MICROBATCH_WRITER_H_
