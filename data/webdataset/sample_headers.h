#ifndef HETERO_DATA_WEBDATASET_SAMPLE_HEADERS_H_
#define HETERO_DATA_WEBDATASET_SAMPLE_HEADERS_H_

// What the headers of a split's samples say, kept in a file beside the index: every rank counts the
// rows of all samples of a step, and would open each of them for it.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

struct SampleHeader {
  ImageSize image = {};       // height 0: unknown, the sample itself tells or says what is wrong
  int64_t caption_bytes = 0;  // unknown likewise

  bool known() const { return image.height > 0; }
  bool operator==(const SampleHeader&) const = default;
};

// Unknown where a member is missing or the image's header is damaged. Decodes no pixel.
SampleHeader HeaderOf(const RawSample& sample, const CaptioningFields& fields);

// What headers were taken from. A file of another data set, or of this one before it was prepared
// again, is none of this one's.
struct HeadersOrigin {
  std::string index_id;  // contents of index.uuid; empty where there is none
  CaptioningFields fields;
  std::vector<std::pair<std::string, int64_t>> shards;  // of the split: names and samples, in order
};

// The file of a split in the metadata folder.
std::filesystem::path HeadersFile(const std::filesystem::path& folder, std::string_view split);

bool IsHeadersFile(const std::filesystem::path& name);

// A line with the format's version, then little-endian: a hash of the origin and the number of
// samples, u64 each; of each sample height and width, u32, and the caption's bytes, u64; a hash of
// all before it, u64. Samples lie in the order of the split's shards, excluded ones included.
std::string FormatHeaders(const HeadersOrigin& origin, std::span<const SampleHeader> headers);

// Errors: FAILED_PRECONDITION for another origin or version, DATA_LOSS for damaged bytes.
absl::StatusOr<std::vector<SampleHeader>> ParseHeaders(std::string_view bytes,
                                                       const HeadersOrigin& origin);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_SAMPLE_HEADERS_H_
