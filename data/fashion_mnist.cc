#include "hetero/data/fashion_mnist.h"

#include <zlib.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/out_of_memory.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/file_lock.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kImagesMagic = 0x00000803;  // unsigned bytes, three dimensions
constexpr uint32_t kLabelsMagic = 0x00000801;  // unsigned bytes, one dimension
constexpr ImageSize kPhotograph = {.height = 28, .width = 28};

// The fastest level: shards are padded to 512 bytes, so smaller files would save nothing.
constexpr int kCompression = 1;

struct Split {
  std::string_view name;
  std::string_view file_prefix;
};

constexpr std::array<Split, 2> kSplits = {Split{.name = "train", .file_prefix = "train"},
                                          Split{.name = "test", .file_prefix = "t10k"}};

// The bytes that gzip `packed` holds, of all its members.
absl::StatusOr<std::string> Unpack(std::string_view packed) {
  constexpr size_t kPiece = size_t{1} << 20;
  constexpr size_t kLimit = size_t{1} << 30;
  constexpr int kOnlyGzip = 15 + 16;  // zlib's largest window, and no format but gzip
  z_stream stream = {};
  if (inflateInit2(&stream, kOnlyGzip) != Z_OK) {
    return OutOfMemoryError("no memory to unpack");
  }
  const absl::Cleanup end = [&] { inflateEnd(&stream); };
  // zlib reads its input only; its interface has no const.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string bytes;
  while (bytes.size() < kLimit) {
    const size_t done = bytes.size();
    bytes.resize(done + kPiece);
    stream.next_out = reinterpret_cast<Bytef*>(bytes.data() + done);
    stream.avail_out = static_cast<uInt>(kPiece);
    const int code = inflate(&stream, Z_NO_FLUSH);
    bytes.resize(bytes.size() - stream.avail_out);
    if (code == Z_MEM_ERROR) return OutOfMemoryError("no memory to unpack");
    if (code == Z_BUF_ERROR) return absl::DataLossError("the file ends early");
    if (code != Z_OK && code != Z_STREAM_END) {
      return absl::DataLossError(
          absl::StrCat("no gzip file, or damaged: ", stream.msg == nullptr ? "" : stream.msg));
    }
    if (code == Z_STREAM_END) {
      if (stream.avail_in == 0) return bytes;
      inflateReset(&stream);
    }
  }
  return absl::DataLossError(absl::StrFormat("it unpacks to more than %d bytes", kLimit));
}

absl::StatusOr<std::string> ReadGzip(const fs::path& path) {
  absl::StatusOr<std::string> packed = ReadFile(path);
  if (absl::IsNotFound(packed.status())) {
    return absl::NotFoundError(absl::StrCat("there is no file ", path.native(),
                                            "; install the Debian package dataset-fashion-mnist or "
                                            "name the folder that holds its files"));
  }
  HETERO_RETURN_IF_ERROR(packed.status());
  absl::StatusOr<std::string> bytes = Unpack(*packed);
  HETERO_RETURN_IF_ERROR(bytes.status()).With(path.native());
  return bytes;
}

uint32_t BigEndian32(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[offset + i]);
  }
  return value;
}

// The payload of an IDX file : 32-bit big-endian magic and dimensions, then
// the bytes. `item_dims` are the dimensions behind the first.
absl::StatusOr<std::string> ReadIdx(const fs::path& path, uint32_t magic,
                                    const std::vector<uint32_t>& item_dims) {
  HETERO_ASSIGN_OR_RETURN(std::string bytes, ReadGzip(path));
  const size_t header = 4 * (2 + item_dims.size());
  bool matches = bytes.size() >= header && BigEndian32(bytes, 0) == magic;
  size_t item_bytes = 1;
  for (size_t i = 0; matches && i < item_dims.size(); ++i) {
    matches = BigEndian32(bytes, 4 * (2 + i)) == item_dims[i];
    item_bytes *= item_dims[i];
  }
  if (!matches) {
    return absl::DataLossError(
        absl::StrCat(path.native(), " is not the IDX file of Fashion-MNIST that it should be"));
  }
  const size_t expected = header + BigEndian32(bytes, 4) * item_bytes;
  if (bytes.size() != expected) {
    return absl::DataLossError(absl::StrFormat("%s unpacks to %d bytes; its header announces %d",
                                               path.native(), bytes.size(), expected));
  }
  return bytes.substr(header);
}

absl::Status WriteShards(const FashionMnistOptions& options, const Split& split,
                         const fs::path& folder, std::vector<std::string>& shards) {
  const std::string prefix(split.file_prefix);
  HETERO_ASSIGN_OR_RETURN(const std::string images,
                          ReadIdx(options.source / (prefix + "-images-idx3-ubyte.gz"), kImagesMagic,
                                  {uint32_t{kPhotograph.height}, uint32_t{kPhotograph.width}}));
  const fs::path labels_path = options.source / (prefix + "-labels-idx1-ubyte.gz");
  HETERO_ASSIGN_OR_RETURN(const std::string labels, ReadIdx(labels_path, kLabelsMagic, {}));
  const auto num_samples = static_cast<int64_t>(labels.size());
  if (static_cast<int64_t>(images.size()) != num_samples * kPhotograph.Area()) {
    return absl::DataLossError(absl::StrFormat("%s has %d labels for %d images",
                                               labels_path.native(), num_samples,
                                               images.size() / kPhotograph.Area()));
  }

  Image image;
  image.Reshape(kPhotograph, 1);
  for (int64_t begin = 0; begin < num_samples; begin += options.samples_per_shard) {
    const int64_t end = std::min(begin + options.samples_per_shard, num_samples);
    shards.push_back(absl::StrFormat("%s-%03d.tar", split.name, begin / options.samples_per_shard));
    HETERO_ASSIGN_OR_RETURN(TarWriter writer, TarWriter::Create(folder / shards.back()));
    for (int64_t i = begin; i < end; ++i) {
      HETERO_RETURN_IF_ERROR(options.work.Continue("the preparation of Fashion-MNIST"));
      const auto label = static_cast<unsigned char>(labels[i]);
      if (label >= kFashionLabels.size()) {
        return absl::DataLossError(absl::StrFormat("%s: label %d is %d; labels are 0 to 9",
                                                   labels_path.native(), i, label));
      }
      std::copy_n(images.data() + i * kPhotograph.Area(), kPhotograph.Area(), image.pixels.begin());
      HETERO_ASSIGN_OR_RETURN(const std::string png, EncodePng(image, kCompression));
      const std::string key = absl::StrFormat("%s_%05d", split.name, i);
      HETERO_RETURN_IF_ERROR(writer.Add(key + ".png", png));
      HETERO_RETURN_IF_ERROR(writer.Add(key + ".txt", kFashionLabels[label]));
    }
    HETERO_RETURN_IF_ERROR(writer.Close());
  }
  return absl::OkStatus();
}

// Whether `folder` was prepared before; an error when it holds something else. The folder gets its
// name only when it is complete, so opening it is all there is to check.
absl::StatusOr<bool> IsPrepared(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error) || fs::is_empty(folder, error)) return false;
  if (!fs::exists(folder / kMetadataFolder, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder.native(),
                     " holds something else than a prepared data set; name another "
                     "folder"));
  }
  for (const Split& split : kSplits) {
    const absl::Status status = Dataset::Open(folder, split.name).status();
    // What the machine lacks or forbids is no fault of the folder.
    if (status.ok() || absl::IsResourceExhausted(status) || absl::IsPermissionDenied(status)) {
      HETERO_RETURN_IF_ERROR(status);
      continue;
    }
    return absl::Status(
        absl::IsDataLoss(status) ? status.code() : absl::StatusCode::kFailedPrecondition,
        absl::StrFormat("%s; delete the folder %s to prepare it again, or name another",
                        status.message(), folder.native()));
  }
  return true;
}

}  // namespace

absl::StatusOr<FashionMnistReport> PrepareFashionMnist(const FashionMnistOptions& options) {
  if (options.samples_per_shard <= 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("samples_per_shard is %d; it is at least 1", options.samples_per_shard));
  }
  std::error_code error;
  fs::path output = fs::absolute(options.output, error).lexically_normal();
  if (!output.has_filename()) output = output.parent_path();
  const FashionMnistReport ready = {.was_ready = true, .prepared = {}};
  HETERO_ASSIGN_OR_RETURN(const bool was_ready, IsPrepared(output));
  if (was_ready) return ready;
  fs::create_directories(output.parent_path(), error);
  if (error) {
    return SystemError(error.value(),
                       absl::StrCat("cannot create ", output.parent_path().native()));
  }
  HETERO_ASSIGN_OR_RETURN(const FileLock lock,
                          FileLock::Acquire(fs::path(output) += ".lock", options.work));
  HETERO_ASSIGN_OR_RETURN(const bool prepared_meanwhile, IsPrepared(output));
  if (prepared_meanwhile) return ready;
  options.work.Say(absl::StrCat("preparing Fashion-MNIST, once: ", options.source.native(), " -> ",
                                output.native()));

  // Under the lock, a folder of this name is what a stopped run left.
  const fs::path partial = fs::path(output) += ".partial";
  fs::remove_all(partial, error);
  fs::create_directory(partial, error);
  if (error) return SystemError(error.value(), absl::StrCat("cannot create ", partial.native()));
  absl::Cleanup remove_partial = [&] {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
  };
  PrepareOptions prepare = {.splits = {},
                            .fields = CaptioningFields{.image = "png", .caption = "txt"},
                            .work = options.work};
  for (const Split& split : kSplits) {
    std::vector<std::string> shards;
    HETERO_RETURN_IF_ERROR(WriteShards(options, split, partial, shards));
    prepare.splits.emplace_back(split.name, std::move(shards));
  }
  FashionMnistReport report;
  HETERO_ASSIGN_OR_RETURN(report.prepared, PrepareDataset(partial, prepare));
  HETERO_RETURN_IF_ERROR(RenameDurably(partial, output));
  std::move(remove_partial).Cancel();
  return report;
}

}  // namespace hetero::data
