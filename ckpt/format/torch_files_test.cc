// Items, objects, indices and whole directories: ours against golden bytes, PyTorch's and
// Megatron's as they are in testdata.

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/file_range.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/sha256.h"
#include "hetero/ckpt/format/testing/pattern_checkpoint.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/format/torch_object.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kTestdata[] = "ckpt/format/testdata";

std::string ReadBytes(const ReadableFile& file, int64_t offset, int64_t bytes) {
  std::string text(bytes, '\0');
  EXPECT_THAT(file.Read(offset, std::as_writable_bytes(std::span(text))), IsOk());
  return text;
}

std::string ReadTestdata(const std::string& name) {
  PosixStorage storage;
  const auto text = ReadText(storage, absl::StrCat(kTestdata, "/", name));
  EXPECT_THAT(text, IsOk());
  return text.value_or("");
}

// Bytes 0, 1, 2 and so on, as generate.py gives them to the tensors of every type.
std::string Counted(int64_t bytes, bool as_bools) {
  std::string text;
  for (int64_t i = 0; i < bytes; ++i) text += static_cast<char>(as_bools ? i % 2 : i);
  return text;
}

struct WrittenItem {
  ItemLayout layout;
  std::string bytes;
};

WrittenItem WriteItem(ElementType type, const std::vector<int64_t>& shape, std::string_view payload,
                      int64_t file_offset) {
  const auto layout = LayOutItem(type, shape, file_offset);
  EXPECT_THAT(layout, IsOk());
  const uint32_t crc = Crc32(AsBytes(payload));
  const auto [head, tail] = MakeItemEnds(type, shape, crc, file_offset);
  EXPECT_EQ(layout->payload_offset, file_offset + std::ssize(head));
  EXPECT_EQ(layout->payload_bytes, std::ssize(payload));
  EXPECT_EQ(layout->tail_offset, layout->payload_offset + std::ssize(payload));
  EXPECT_EQ(layout->end, layout->tail_offset + std::ssize(tail));
  EXPECT_EQ(layout->payload_offset % kItemAlignment, 0);
  return {*layout, absl::StrCat(head, payload, tail)};
}

constexpr std::string_view kSixFloats(
    "\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40\0\0\xa0\x40", 24);

TEST(TorchItemTest, HasTheGoldenBytes) {
  EXPECT_EQ(Crc32(AsBytes(kSixFloats)), 0x91e79017);
  const WrittenItem first = WriteItem(ElementType::kF32, {2, 3}, kSixFloats, 0);
  EXPECT_EQ(first.bytes.size(), 4388);
  EXPECT_EQ(first.layout.payload_offset, 4096);
  EXPECT_EQ(Sha256Hex(first.bytes),
            "d55065b0d132cd2324cc66f35c6ef15b9060e2e45a57aa5cbe43eeaee0d7e75f");
  const size_t pickle = first.bytes.find("archive/data.pkl") + 16;
  EXPECT_EQ(Crc32(AsBytes(std::string_view(first.bytes).substr(pickle, 132))), 0x21cd403e);
  EXPECT_TRUE(absl::StartsWith(
      absl::BytesToHexString(first.bytes.substr(pickle, 132)),
      "800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a28285807000000"));

  const WrittenItem second = WriteItem(ElementType::kF32, {2, 3}, kSixFloats, 4388);
  EXPECT_EQ(second.bytes.size(), 4096);
  EXPECT_EQ(second.layout.payload_offset, 8192);
  EXPECT_EQ(Sha256Hex(second.bytes),
            "8cc6f8c1615d34767bba4048c75c0d0e066df376f2a8df0a5ae1e63fc90bce1c");
  EXPECT_EQ(Sha256Hex(first.bytes + second.bytes),
            "0e4c978149e973163c5af5f98f2ae0619d0dfae302396d00ba99b3ab05f1363f");
}

// The layout does not depend on the checksum, which is known only when all was written.
TEST(TorchItemTest, HeadIsAsLongBeforeTheChecksumIsKnown) {
  const std::vector<int64_t> shape = {2, 3};
  EXPECT_EQ(MakeItemEnds(ElementType::kF32, shape, 0, 77).head.size(),
            MakeItemEnds(ElementType::kF32, shape, 0xffffffff, 77).head.size());
}

TEST(TorchItemTest, ItemsOfEveryTypeAndShapeAreReadBack) {
  const std::vector<std::vector<int64_t>> shapes = {{}, {0, 3}, {3, 2}, {2, 3, 2, 5}, {70000}};
  for (int i = 0; i < kNumElementTypes; ++i) {
    const auto type = static_cast<ElementType>(i);
    SCOPED_TRACE(Name(type));
    if (BitsOf(type) < 8) {
      EXPECT_THAT(LayOutItem(type, shapes[2], 0), StatusIs(absl::StatusCode::kInvalidArgument));
      continue;
    }
    for (const std::vector<int64_t>& shape : shapes) {
      const std::string payload = Counted(*PayloadBytes(type, shape), false);
      const WrittenItem written = WriteItem(type, shape, payload, 12345);
      const TextFile file(written.bytes);
      const auto item = ReadTorchItem(file);
      ASSERT_THAT(item, IsOk());
      EXPECT_EQ(item->type, type);
      EXPECT_EQ(item->shape, shape);
      EXPECT_EQ(item->payload_offset, written.layout.payload_offset - 12345);
      EXPECT_EQ(item->crc32, Crc32(AsBytes(payload)));
      EXPECT_EQ(ReadBytes(file, item->payload_offset, item->payload_bytes), payload);
    }
  }
}

TEST(TorchItemTest, MoreThanAnArchiveOf32BitsHoldsIsRefused) {
  EXPECT_THAT(LayOutItem(ElementType::kU8, std::vector<int64_t>{(int64_t{1} << 32) - 8192}, 0),
              IsOk());
  EXPECT_THAT(LayOutItem(ElementType::kU8, std::vector<int64_t>{int64_t{1} << 32}, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("divide it")));
}

// Any byte but those of the elements: the item is refused or means the same.
TEST(TorchItemTest, AFlippedByteIsRefusedOrChangesNothing) {
  const WrittenItem written = WriteItem(ElementType::kF32, {2, 3}, kSixFloats, 3900);
  std::string bytes = written.bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] ^= 0x41;
    const auto item = ReadTorchItem(TextFile(bytes));
    if (item.ok()) {
      EXPECT_EQ(item->type, ElementType::kF32) << i;
      EXPECT_THAT(item->shape, ElementsAre(2, 3)) << i;
      EXPECT_EQ(item->payload_offset, written.layout.payload_offset - 3900) << i;
    }
    bytes[i] ^= 0x41;
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ReadTorchItem(TextFile(std::string_view(bytes).substr(0, size))).ok()) << size;
  }
}

struct DamagedItem {
  const char* name;
  std::function<void(std::string&)> damage;
  const char* message;
};

void PrintTo(const DamagedItem& item, std::ostream* out) { *out << item.name; }

class DamagedItemTest : public ::testing::TestWithParam<DamagedItem> {};

TEST_P(DamagedItemTest, IsRefused) {
  std::string bytes = WriteItem(ElementType::kF32, {2, 3}, kSixFloats, 0).bytes;
  GetParam().damage(bytes);
  EXPECT_THAT(ReadTorchItem(TextFile(bytes)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(GetParam().message)));
}

// Where an entry of the directory has its fields.
size_t Entry(const std::string& bytes, std::string_view name) { return bytes.rfind(name) - 46; }

void Set(std::string& bytes, size_t at, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

// A changed pickle with its true checksum.
void ChangePickle(std::string& bytes, std::string_view from, std::string_view to) {
  const size_t pickle = bytes.find("archive/data.pkl") + 16;
  bytes.replace(bytes.find(from, pickle), from.size(), to);
  const std::string_view changed = std::string_view(bytes).substr(pickle, 132);
  Set(bytes, Entry(bytes, "archive/data.pkl") + 16, Crc32(AsBytes(changed)));
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedItemTest,
    ::testing::Values(
        DamagedItem{"Compressed", [](std::string& b) { b[Entry(b, "archive/data/0") + 10] = 8; },
                    "record archive/data/0 is compressed"},
        DamagedItem{"TwoRecordsOfOneName",
                    [](std::string& b) {
                      for (size_t at = b.find("archive/version"); at != std::string::npos;
                           at = b.find("archive/version")) {
                        b.replace(at, 15, "archive/data/0x", 0, 15);
                      }
                      for (size_t at = b.find("archive/byteorder"); at != std::string::npos;
                           at = b.find("archive/byteorder")) {
                        b.replace(at, 17, "archive/data/0xyz", 0, 17);
                      }
                      // One entry of the directory twice, in the place of another.
                      const size_t pickle = Entry(b, "archive/data.pkl");
                      const std::string entry = b.substr(pickle, 46 + 16);
                      const size_t byteorder = Entry(b, "archive/data/0xyz");
                      b.replace(byteorder, 46 + 17, entry);
                      Set(b, b.size() - 22 + 12, static_cast<uint32_t>(b.size() - 22 - byteorder));
                    },
                    "overlap"},
        DamagedItem{"EndRecordPointsOutside",
                    [](std::string& b) { Set(b, b.size() - 6, 0x7fffffff); }, "lies outside of"},
        DamagedItem{"RecordOutside",
                    [](std::string& b) { Set(b, Entry(b, "archive/data/0") + 42, 5000); },
                    "record archive/data/0 of the zip archive"},
        DamagedItem{"RecordLongerThanTheArchive",
                    [](std::string& b) {
                      Set(b, Entry(b, "archive/data/0") + 20, 0x7fffffff);
                      Set(b, Entry(b, "archive/data/0") + 24, 0x7fffffff);
                    },
                    "the records end at"},
        DamagedItem{"RecordOfOtherSize",
                    [](std::string& b) {
                      Set(b, Entry(b, "archive/data/0") + 20, 20);
                      Set(b, Entry(b, "archive/data/0") + 24, 20);
                    },
                    "shape [2,3] of f32 has 24 bytes, its record 20"},
        DamagedItem{"OtherNameInTheHeader",
                    [](std::string& b) { b[b.find("archive/data/0")] = 'b'; },
                    "has another name in its own header"},
        DamagedItem{"PickleWithAnotherChecksum",
                    [](std::string& b) { b[b.find("FloatStorage")] = 'f'; }, "has the checksum"},
        DamagedItem{"UnknownStorage",
                    [](std::string& b) { ChangePickle(b, "FloatStorage", "floatstorage"); },
                    "the unknown type floatstorage"},
        DamagedItem{"OtherNumberOfElements",
                    [](std::string& b) { ChangePickle(b, "K\x06", "K\x07"); },
                    "takes a storage of 6, it has 7"},
        DamagedItem{"OtherStrides",
                    [](std::string& b) { ChangePickle(b, "K\x03K\x01t", "K\x01K\x02t"); },
                    "strides [1,2] of shape [2,3] are not row-major"},
        DamagedItem{"AnotherCall",
                    [](std::string& b) {
                      ChangePickle(b, "torch._utils\n_rebuild_tensor_v2",
                                   "posix.system\n_rebuild_tensor_v2");
                    },
                    "data.pkl is no tensor: another value"},
        DamagedItem{"BigEndian",
                    [](std::string& b) {
                      const size_t at = b.find("archive/byteorder") + 17;
                      b.replace(at, 6, "big   ");
                      Set(b, Entry(b, "archive/byteorder") + 16, Crc32(AsBytes("big   ")));
                    },
                    "not little-endian"}),
    [](const auto& info) { return info.param.name; });

TEST(TorchObjectTest, ObjectsComeBackAsTheyWere) {
  const nlohmann::json value = {{"step", 3}, {"scale", 65536.0}, {"names", {"a", "b"}}};
  EXPECT_THAT(ReadObject(TextFile(ObjectItem(value))), IsOkAndHolds(value));
  // A list of one value is not taken for the list that it is stored in.
  for (const nlohmann::json& list :
       {nlohmann::json::array({1}), nlohmann::json::array(), nlohmann::json::array({1, 2})}) {
    EXPECT_THAT(ReadObject(TextFile(ObjectItem(list))), IsOkAndHolds(list));
  }
  const nlohmann::json common = {{"args", {{"num_layers", 2}}}, {"iteration", 10}};
  EXPECT_THAT(ReadCommon(TextFile(CommonText(common))), IsOkAndHolds(common));
  EXPECT_THAT(ReadCommon(TextFile(ObjectItem(common))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no dict")));
}

// What a reader makes of a directory that others wrote, tensor by tensor.
class Directory {
 public:
  Directory(Storage& storage, std::filesystem::path folder)
      : storage_(storage), folder_(std::move(folder)) {
    const auto text = ReadText(storage, folder_ / kTorchMetadataName);
    EXPECT_THAT(text, IsOk());
    auto index = ParseTorchMetadata(text.value_or(""));
    EXPECT_THAT(index, IsOk());
    if (index.ok()) index_ = *std::move(index);
  }

  const StoredIndex& index() const { return index_; }

  std::string Bytes(const StoredTensor& tensor, const StoredChunk& chunk) {
    const auto file = storage_.Open(folder_ / chunk.place.file);
    EXPECT_THAT(file, IsOk());
    const auto item = ReadStoredItem(**file, tensor, chunk);
    EXPECT_THAT(item, IsOk());
    if (!item.ok()) return "";
    const std::string bytes =
        ReadBytes(**file, chunk.place.offset + item->payload_offset, item->payload_bytes);
    EXPECT_EQ(Crc32(AsBytes(bytes)), item->crc32);
    return bytes;
  }

  nlohmann::json Object(const std::string& name) {
    const StoredPlace& place = index_.objects.at(name);
    const auto file = storage_.Open(folder_ / place.file);
    EXPECT_THAT(file, IsOk());
    const auto value = ReadObject(FileRange(**file, place.offset, place.bytes));
    EXPECT_THAT(value, IsOk());
    return value.value_or(nullptr);
  }

  // Every chunk of a tensor has the elements that the pattern has there.
  void ExpectPattern(const std::string& key, std::string_view pattern_key) {
    SCOPED_TRACE(key);
    ASSERT_TRUE(index_.tensors.contains(key));
    const StoredTensor& tensor = index_.tensors.at(key);
    for (const StoredChunk& chunk : tensor.chunks) {
      EXPECT_EQ(Bytes(tensor, chunk),
                PatternBytes(pattern_key, tensor.type, tensor.shape, chunk.box));
    }
  }

 private:
  Storage& storage_;
  std::filesystem::path folder_;
  StoredIndex index_;
};

TEST(TorchMetadataTest, ReadsWhatPyTorchSaved) {
  PosixStorage storage;
  Directory directory(storage, absl::StrCat(kTestdata, "/dcp"));
  directory.ExpectPattern("model.w", "w");
  directory.ExpectPattern("model.e", "e");
  EXPECT_THAT(directory.index().tensors.at("model.e").shape, ElementsAre(2, 3, 2, 2));
  EXPECT_THAT(directory.index().tensors.at("scalar").shape, IsEmpty());
  EXPECT_THAT(directory.index().tensors.at("empty").shape, ElementsAre(0, 3));
  int types = 0;
  for (const auto& [key, tensor] : directory.index().tensors) {
    SCOPED_TRACE(key);
    for (const StoredChunk& chunk : tensor.chunks) directory.Bytes(tensor, chunk);
    if (!absl::StartsWith(key, "types.")) continue;
    ++types;
    EXPECT_EQ(Name(tensor.type), key.substr(6));
    EXPECT_EQ(directory.Bytes(tensor, tensor.chunks.at(0)),
              Counted(6 * BitsOf(tensor.type) / 8, key == "types.bool"));
  }
  EXPECT_EQ(types, 17);
  EXPECT_EQ(directory.Object("step"), 3);
  EXPECT_EQ(directory.Object("groups.0.lr"), 0.1);
}

TEST(TorchMetadataTest, ReadsWhatTwoRanksSaved) {
  PosixStorage storage;
  Directory directory(storage, absl::StrCat(kTestdata, "/sharded"));
  directory.ExpectPattern("w", "w");
  const StoredTensor& w = directory.index().tensors.at("w");
  ASSERT_EQ(w.chunks.size(), 2);
  EXPECT_NE(w.chunks[0].place.file, w.chunks[1].place.file);
  EXPECT_EQ(directory.Object("step"), 3);
}

TEST(TorchMetadataTest, ReadsWhatMegatronSaved) {
  PosixStorage storage;
  const std::string folder = absl::StrCat(kTestdata, "/mcore");
  EXPECT_THAT(CheckBackend(ReadTestdata("mcore/metadata.json")), IsOk());
  Directory directory(storage, folder);
  directory.ExpectPattern("language_model.module.module.w", "w");
  const std::string expert =
      "language_model.module.module.decoder.layers.1.mlp.experts.experts.linear_fc1.weight";
  directory.ExpectPattern(expert, "exp.weight");
  EXPECT_THAT(directory.index().tensors.at(expert).shape, ElementsAre(2, 3, 2));
  EXPECT_EQ(directory.index().tensors.at(expert).chunks.size(), 2);
  EXPECT_TRUE(directory.Object("lin._extra_state/shard_0_1").is_null());
  EXPECT_EQ(directory.Object("language.rng_state/shard_0.0_1.1")["seed"], (uint64_t{1} << 63) + 5);
  const auto common = ReadCommon(TextFile(ReadTestdata("mcore/common.pt")));
  ASSERT_THAT(common, IsOk());
  EXPECT_EQ((*common)["iteration"], 10);
  EXPECT_EQ((*common)["args"], (nlohmann::json{{"num_layers", 2}, {"lr", 1e-4}, {"bf16", true}}));
  EXPECT_EQ((*common)["content_metadata"]["distrib_optim_sharding_type"], "x");
}

std::string Summary(const StoredIndex& index) {
  std::string text;
  for (const auto& [key, tensor] : index.tensors) {
    absl::StrAppend(&text, key, " ", Name(tensor.type), " ", ShapeText(tensor.shape), "\n");
    for (const StoredChunk& chunk : tensor.chunks) {
      absl::StrAppend(&text, "  ", ToString(chunk.box), " ", chunk.place.file, " ",
                      chunk.place.offset, " ", chunk.place.bytes, "\n");
    }
  }
  for (const auto& [name, place] : index.objects) {
    absl::StrAppend(&text, name, " ", place.file, " ", place.offset, " ", place.bytes, "\n");
  }
  return text;
}

TEST(TorchMetadataTest, EveryProtocolReleaseAndOurOwnTextGiveTheSameIndex) {
  const auto index = ParseTorchMetadata(ReadTestdata("dcp/.metadata"));
  ASSERT_THAT(index, IsOk());
  const std::string expected = Summary(*index);
  for (const char* name : {"metadata.p2", "metadata.p4", "metadata.p5", "metadata.old"}) {
    const auto other = ParseTorchMetadata(ReadTestdata(name));
    ASSERT_THAT(other, IsOk()) << name;
    EXPECT_EQ(Summary(*other), expected) << name;
  }
  const auto ours = ParseTorchMetadata(TorchMetadataText(*index));
  ASSERT_THAT(ours, IsOk());
  EXPECT_EQ(Summary(*ours), expected);
}

// w in two boxes of a file, and an object behind them.
StoredIndex SmallIndex() {
  StoredIndex index;
  index.tensors["w"] = {.type = ElementType::kF32,
                        .shape = {4, 8},
                        .chunks = {{{"__0_0.distcp", 0, 4200}, {{0, 0}, {2, 8}}},
                                   {{"__0_0.distcp", 4200, 4200}, {{2, 0}, {2, 8}}}}};
  index.objects["obj"] = {"__0_0.distcp", 8400, 500};
  return index;
}

TEST(TorchMetadataTest, WhatCannotBeIsRefusedByKey) {
  ASSERT_THAT(ParseTorchMetadata(TorchMetadataText(SmallIndex())), IsOk());
  const std::pair<std::function<void(StoredIndex&)>, const char*> kDamages[] = {
      {[](StoredIndex& i) { i.tensors["w"].chunks[1].place.offset = -8; },
       "w: offset must be an integer that is not negative"},
      {[](StoredIndex& i) { i.tensors["w"].chunks[1].place.bytes = -8; },
       "w: length must be an integer that is not negative"},
      {[](StoredIndex& i) { i.tensors["w"].chunks[1].place.offset = 4100; },
       "w and w overlap at byte 4100 of __0_0.distcp"},
      {[](StoredIndex& i) { i.objects["obj"].offset = 8300; },
       "w and obj overlap at byte 8300 of __0_0.distcp"},
      {[](StoredIndex& i) { i.tensors["w"].chunks[1].place.file = "../x"; },
       "w: relative_path is no name of a file"},
      {[](StoredIndex& i) {
         i.tensors["w"].chunks[1].box = {{1, 0}, {2, 8}};
       },
       "w"},
      {[](StoredIndex& i) {
         i.tensors["w"].chunks[1].box = {{3, 0}, {2, 8}};
       },
       "chunk [3,0]+[2,8] lies outside of the tensor [4,8]"},
      {[](StoredIndex& i) {
         i.tensors["w"].chunks[1].box = {{2}, {2, 8}};
       },
       "lies outside"},
      {[](StoredIndex& i) {
         i.tensors["w"].chunks[1].box = {{2, 0, 0}, {2, 8, 1}};
       },
       "lies outside"},
      {[](StoredIndex& i) { i.tensors["w"].chunks.pop_back(); }, "w"},
      {[](StoredIndex& i) {
         i.tensors["w"].shape = {-4, 8};
       },
       "has a negative dim"}};
  for (const auto& [damage, message] : kDamages) {
    StoredIndex index = SmallIndex();
    damage(index);
    EXPECT_THAT(ParseTorchMetadata(TorchMetadataText(index)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)))
        << message;
  }
  const std::string text = TorchMetadataText(SmallIndex());
  // As one of the fields of a place, with any value.
  EXPECT_THAT(
      ParseTorchMetadata(absl::StrReplaceAll(
          text, {{std::string("X\x06\0\0\0length", 11),
                  std::string("X\x15\0\0\0transform_descriptorsK\1X\x06\0\0\0length", 39)}})),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("transform_descriptors")));
  EXPECT_THAT(ParseTorchMetadata(absl::StrReplaceAll(text, {{"\nMetadata\n", "\nOther\n"}})),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("Metadata is another value")));
  EXPECT_THAT(ParseTorchMetadata("N."), StatusIs(absl::StatusCode::kDataLoss));
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(ParseTorchMetadata(text.substr(0, size)).ok()) << size;
  }
}

TEST(TorchMetadataTest, AnItemThatIsNotWhatTheIndexSaysIsRefused) {
  const WrittenItem item = WriteItem(ElementType::kF32, {2, 3}, kSixFloats, 0);
  const TextFile file(item.bytes);
  StoredTensor tensor = {.type = ElementType::kF32, .shape = {4, 2, 3}};
  StoredChunk chunk = {.place = {"f", 0, item.layout.bytes()}, .box = {{2, 0, 0}, {1, 2, 3}}};
  EXPECT_THAT(ReadStoredItem(file, tensor, chunk), IsOk());
  chunk.box.size = {2, 1, 3};
  EXPECT_THAT(ReadStoredItem(file, tensor, chunk), IsOk());
  chunk.box.size = {1, 3, 2};
  EXPECT_THAT(ReadStoredItem(file, tensor, chunk),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("f, item at 0 is f32 [2,3], the index says f32 [1,3,2]")));
  chunk.box.size = {1, 2, 3};
  tensor.type = ElementType::kI32;
  EXPECT_THAT(ReadStoredItem(file, tensor, chunk),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the index says i32")));
  tensor.type = ElementType::kF32;
  chunk.place.bytes += 1;
  EXPECT_THAT(ReadStoredItem(file, tensor, chunk),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("lie outside of 4388")));
}

TEST(TorchMetadataTest, OtherBackendsAreRefused) {
  EXPECT_THAT(CheckBackend(BackendText()), IsOk());
  EXPECT_EQ(BackendText(), R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1})");
  for (const char* text : {R"({"sharded_backend": "zarr", "sharded_backend_version": 1})",
                           R"({"sharded_backend": "torch_dist", "sharded_backend_version": 2})"}) {
    EXPECT_THAT(CheckBackend(text), StatusIs(absl::StatusCode::kFailedPrecondition));
  }
  EXPECT_THAT(CheckBackend("{}"), StatusIs(absl::StatusCode::kDataLoss));
}

class PatternTest : public ::testing::TestWithParam<PatternBoxes> {};

// What we write is read by both of its descriptions, whatever the boxes.
TEST_P(PatternTest, BothDescriptionsGiveThePattern) {
  MemoryStorage storage;
  ASSERT_THAT(WritePatternCheckpoint(storage, "/c", GetParam()), IsOk());

  const auto text = ReadText(storage, "/c/manifest.json");
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(CheckCommit(*ReadText(storage, "/c/COMMIT"), *text), IsOk());
  const auto manifest = ParseManifest(*text);
  ASSERT_THAT(manifest, IsOk());
  std::set<std::string> names = {"COMMIT", "manifest.json"};
  for (const ManifestFile& file : manifest->files) {
    const std::string bytes = *ReadText(storage, "/c/" + file.name);
    EXPECT_EQ(std::ssize(bytes), file.bytes);
    EXPECT_EQ(Crc32(AsBytes(bytes)), file.crc32);
    names.insert(file.name);
  }
  EXPECT_EQ(storage.List("/c").value(), std::vector<std::string>(names.begin(), names.end()));
  const auto sums = BlockSums::Parse(*manifest, *ReadText(storage, "/c/manifest.crc"));
  ASSERT_THAT(sums, IsOk());

  Directory directory(storage, "/c");
  ASSERT_EQ(manifest->tensors.size(), 5);
  for (const auto& [key, tensor] : manifest->tensors) {
    directory.ExpectPattern(key, key);
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      const ManifestChunk& chunk = tensor.chunks[i];
      EXPECT_EQ(chunk.offset % kItemAlignment, 0);
      const auto file = storage.Open("/c/" + manifest->files[chunk.file].name);
      const std::string bytes = ReadBytes(**file, chunk.offset, chunk.bytes);
      EXPECT_EQ(bytes, PatternBytes(key, tensor.type, tensor.shape, chunk.box));
      EXPECT_EQ(Crc32(AsBytes(bytes)), chunk.crc32);
      if (chunk.bytes > 0) {
        EXPECT_THAT(sums->Of(key, i), ElementsAre(chunk.crc32));
      }
    }
  }
  EXPECT_EQ(directory.Object("obj/shard_0_1")["seed"], uint64_t{1} << 63);
}

INSTANTIATE_TEST_SUITE_P(All, PatternTest,
                         ::testing::Values(PatternBoxes::kGrid, PatternBoxes::kIrregular));

TEST(PatternValueTest, HasKnownChecksums) {
  std::vector<int> w;
  for (int i = 0; i < 8; ++i) w.push_back(PatternValue("w", i));
  EXPECT_THAT(w, ElementsAre(-100, 58, -40, 119, 21, -77, 81, -17));
  const std::vector<int64_t> shape = {4, 8};
  const auto crc = [&](ElementType type, const Box& box) {
    return Crc32(AsBytes(PatternBytes("w", type, shape, box)));
  };
  EXPECT_EQ(crc(ElementType::kF32, {{0, 0}, {4, 8}}), 0xb265c596);
  EXPECT_EQ(crc(ElementType::kF32, {{2, 0}, {2, 8}}), 0xe4d0dd5e);
  EXPECT_EQ(crc(ElementType::kF32, {{0, 4}, {4, 4}}), 0xcd43e93b);
  EXPECT_EQ(crc(ElementType::kBF16, {{0, 0}, {4, 8}}), 0x95c76be9);
}

}  // namespace
}  // namespace hetero
