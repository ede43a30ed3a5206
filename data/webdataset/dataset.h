#ifndef HETERO_DATA_WEBDATASET_DATASET_H_
#define HETERO_DATA_WEBDATASET_DATASET_H_

// One split of a prepared WebDataset (Megatron-Energon layout) with random access to its samples.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/index_range.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/excluded_samples.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/sample_headers.h"
#include "hetero/data/webdataset/shard_pool.h"

namespace hetero::data {

struct DatasetOptions {
  // What the headers of captioned images say is known afterwards, from the file that preparation
  // leaves beside the index. Where that is missing, damaged or of something else, every sample is
  // read once and the file is made, unless the folder cannot be written.
  bool with_headers = false;
  // Where conversations find images that lie in none of their sample's members; may be unset.
  std::shared_ptr<const MediaSource> media = nullptr;
};

// Thread safe; share one object between ranks of a process.
class Dataset {
 public:
  // Opens `split` of the data set at `root` and checks every shard of it against its index; no
  // sample is read, but for headers. Errors name the file and what to do: NOT_FOUND for a folder
  // that is no prepared data set, an unknown split or a missing shard; INVALID_ARGUMENT for bad
  // metadata; DATA_LOSS for a damaged or compressed shard, a damaged index or one of another tar;
  // FAILED_PRECONDITION for a split without shards or with every sample excluded; CANCELLED when
  // the user wants an end.
  static absl::StatusOr<std::shared_ptr<const Dataset>> Open(const std::filesystem::path& root,
                                                             std::string_view split,
                                                             const LongWork& work = {},
                                                             const DatasetOptions& options = {});

  const std::filesystem::path& root() const { return root_; }
  const SampleFields& fields() const { return fields_; }
  const MediaSource* media() const { return media_.get(); }  // nullptr without one

  // Samples that are not excluded; they keep the order of the split's shards.
  int64_t size() const { return size_; }
  int64_t num_excluded() const { return static_cast<int64_t>(excluded_.size()); }

  // Shards of the split in their order, and the positions of their samples.
  struct ShardSamples {
    std::string name;
    IndexRange positions;
  };
  std::vector<ShardSamples> Shards() const;

  // How many samples that are not excluded stand before `position`: the number of the sample there,
  // if it is none of these. Precondition: 0 <= position <= size() + num_excluded().
  int64_t IndexAt(int64_t position) const;

  // Place of sample `i` among all samples of the split, excluded ones included: it does not change
  // when the exclude list does.
  int64_t Position(int64_t i) const;

  // Of sample `i` in [0, size()); unknown also for a data set that was opened without headers.
  SampleHeader Header(int64_t i) const {
    return headers_.empty() ? SampleHeader() : headers_[static_cast<size_t>(Position(i))];
  }

  // "shard/key" of sample `i` in [0, size()), by the index alone: the sample itself may be damaged.
  // Errors: those of SampleIndex.
  absl::StatusOr<std::string> NameOf(int64_t i) const;

  // "sample 17 of shard a.tar of data set /data/chats", for sample `i` in [0, size()), counted in
  // the shard from 0; reads nothing.
  std::string PlaceOf(int64_t i) const;

  // The numbers of the samples that `names` have of this split, as FindNamed has them; of samples
  // that are excluded none. Errors: those of FindNamed.
  absl::StatusOr<std::vector<int64_t>> Find(std::string_view list,
                                            std::span<const std::string> names) const;

  // Reads sample `i` in [0, size()). Errors: DATA_LOSS naming shard, offset and member.
  absl::Status Read(int64_t i, RawSample& out) const;

 private:
  struct Shard {
    std::string name;
    int64_t first = 0;  // position of its first sample
    int64_t num_samples = 0;
  };

  Dataset() = default;
  // Of all samples of the split, excluded ones included.
  absl::StatusOr<std::vector<SampleHeader>> MakeHeaders(const CaptioningFields& fields,
                                                        const LongWork& work) const;
  absl::Status ReadHeaders(std::string_view split, const CaptioningFields& fields,
                           const LongWork& work);
  absl::Status ReadAt(int64_t position, RawSample& out) const;
  // Ascending, each once.
  std::vector<int64_t> PositionsOf(std::span<const Exclusion> named) const;
  std::unordered_set<std::string_view> ShardNames() const;
  const Shard& ShardAt(int64_t position) const;

  std::filesystem::path root_;
  SampleFields fields_;
  std::shared_ptr<const MediaSource> media_;
  std::vector<Shard> shards_;
  std::vector<int64_t> excluded_;  // positions, increasing
  int64_t size_ = 0;
  std::vector<SampleHeader> headers_;  // by position; empty when not asked for
  std::unique_ptr<const ShardPool> pool_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_DATASET_H_
