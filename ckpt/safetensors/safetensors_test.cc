#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/safetensors/header.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/safetensors/writer.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// What the format's library writes for a = [[1, 2], [3, 4]] in F32 and b = [0, 1, 2] in BF16.
constexpr std::string_view kHeader =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})";
constexpr std::string_view kBuffer(
    "\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40\0\0\x80\x3f\0\x40", 22);

std::string File(std::string_view header, std::string_view buffer, int64_t wrong_length = 0) {
  std::string file;
  const uint64_t length = header.size() + wrong_length;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(length >> (8 * i));
  return absl::StrCat(file, header, buffer);
}

std::string Replaced(std::string_view from, std::string_view to) {
  const std::string header = absl::StrReplaceAll(kHeader, {{from, to}});
  EXPECT_NE(header, kHeader);
  return header;
}

absl::StatusOr<std::unique_ptr<SafetensorsReader>> OpenBytes(std::string_view bytes) {
  static MemoryStorage storage;
  EXPECT_THAT(WriteText(storage, "/model.safetensors", bytes), IsOk());
  return SafetensorsReader::Open(storage, "/model.safetensors");
}

std::string BytesOf(const SafetensorsReader& reader, std::string_view name) {
  const absl::StatusOr<const SafetensorsTensor*> tensor = reader.Find(name);
  if (!tensor.ok()) return std::string(tensor.status().message());
  std::string bytes((*tensor)->bytes(), '\0');
  EXPECT_THAT(reader.Read(name, 0, std::as_writable_bytes(std::span(bytes))), IsOk());
  return bytes;
}

TEST(SafetensorsTest, ReadsWhatTheLibraryWrites) {
  const std::string file = File(kHeader, kBuffer);
  ASSERT_EQ(file.size(), 174);
  const auto reader = OpenBytes(file);
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT((*reader)->metadata(), ElementsAre(Pair("format", "pt")));
  ASSERT_EQ((*reader)->tensors().size(), 2);
  const SafetensorsTensor& a = (*reader)->tensors().at("a");
  EXPECT_EQ(a.type, ElementType::kF32);
  EXPECT_THAT(a.shape, ElementsAre(2, 2));
  EXPECT_EQ(BytesOf(**reader, "a"), kBuffer.substr(0, 16));
  EXPECT_EQ(BytesOf(**reader, "b"), kBuffer.substr(16));
}

TEST(SafetensorsTest, AHeaderWithoutAnyOtherRuleBrokenMayBePaddedReorderedOrEmpty) {
  const std::string padded = std::string(kHeader) + std::string(4096 - 8 - kHeader.size(), ' ');
  const auto reader = OpenBytes(File(padded, kBuffer));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(BytesOf(**reader, "b"), kBuffer.substr(16));

  const auto reversed =
      OpenBytes(File(R"({"b":{"dtype":"F8_E4M3","shape":[6],"data_offsets":[16,22]},)"
                     R"("empty":{"dtype":"F32","shape":[0,3],"data_offsets":[16,16]},)"
                     R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                     R"("first":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}})",
                     kBuffer));
  ASSERT_THAT(reversed, IsOk());
  EXPECT_EQ(BytesOf(**reversed, "b"), kBuffer.substr(16));
  EXPECT_EQ(BytesOf(**reversed, "empty"), "");

  EXPECT_THAT(OpenBytes(File("{}", "")), IsOk());
}

struct Mutation {
  const char* name;
  std::string file;
  std::string message;
};

void PrintTo(const Mutation& mutation, std::ostream* out) { *out << mutation.name; }

class MutationTest : public ::testing::TestWithParam<Mutation> {};

TEST_P(MutationTest, IsRefusedByName) {
  EXPECT_THAT(OpenBytes(GetParam().file),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("/model.safetensors"), HasSubstr(GetParam().message))));
}

std::vector<Mutation> Mutations() {
  const std::string whole = File(kHeader, kBuffer);
  return {
      {"Cut", whole.substr(0, whole.size() - 1), "end at byte 22 of the buffer, the file has 21"},
      {"Appended", whole + 'x', "end at byte 22 of the buffer, the file has 23"},
      {"Empty", "", "a file of 0 bytes"},
      {"FourBytes", whole.substr(0, 4), "a file of 4 bytes"},
      {"LengthAndNoHeader", whole.substr(0, 8), "144 bytes by its length, the file only 0"},
      {"LengthPlusOne", File(kHeader, kBuffer, 1), "no valid JSON: byte 145"},
      {"AllZero", std::string(174, '\0'), "length of the safetensors header is 0"},
      {"ZeroHeader", File(std::string(144, '\0'), kBuffer), "does not begin with {"},
      {"NumberAsMetadata", File(Replaced("\"pt\"", "1"), kBuffer),
       R"(__metadata__: "format" must be a string, is 1)"},
      {"ListAsMetadata", File(Replaced("{\"format\":\"pt\"}", "[]"), kBuffer),
       "__metadata__: must be an object, is []"},
      {"UnknownType", File(Replaced("BF16", "BF17"), kBuffer),
       R"(tensor "b": has the unknown dtype "BF17")"},
      {"NumberAsType", File(Replaced("\"BF16\"", "16"), kBuffer),
       R"(tensor "b": has the unknown dtype 16)"},
      {"HugeLength", File(kHeader, kBuffer, int64_t{1} << 40), "at most 100000000"},
      {"NegativeLength", File(kHeader, kBuffer, -1000), "at most 100000000"},
      {"Hole", File(Replaced("[16,22]", "[18,24]"), std::string(kBuffer) + "xx"),
       R"(tensor "b": data_offsets [18, 24] leave a hole: the tensors before end at 16)"},
      {"HoleAtTheStart", File(Replaced("[0,16]", "[22,38]"), std::string(38, 'x')),
       R"(tensor "b": data_offsets [16, 22] leave a hole)"},
      {"Overlap", File(Replaced("[16,22]", "[12,18]"), kBuffer.substr(0, 18)),
       R"(tensor "b": data_offsets [12, 18] overlap: the tensors before end at 16)"},
      {"WrongShape", File(Replaced("[2,2]", "[2,3]"), kBuffer),
       R"(tensor "a": shape [2, 3] of F32 has 24 bytes, data_offsets [0, 16] have 16)"},
      {"NegativeDim", File(Replaced("[2,2]", "[-2,-2]"), kBuffer),
       "shape must be an integer from 0 to 2^63 - 1, is -2"},
      {"FractionalDim", File(Replaced("[2,2]", "[2.0,2]"), kBuffer), "is 2.0"},
      {"HugeDim", File(Replaced("[2,2]", "[9223372036854775807,2]"), kBuffer),
       "has too many elements"},
      {"DimAbove64Bits", File(Replaced("[2,2]", "[18446744073709551616]"), kBuffer),
       "tensor \"a\""},
      {"HalfAByte", File(Replaced("\"F32\",\"shape\":[2,2]", "\"F4\",\"shape\":[31]"), kBuffer),
       "does not fill its last byte"},
      {"OffsetsFallen", File(Replaced("[16,22]", "[22,16]"), kBuffer),
       "must be [begin, end], is [22, 16]"},
      {"ThreeOffsets", File(Replaced("[16,22]", "[16,20,22]"), kBuffer), "must be [begin, end]"},
      {"NoShape", File(Replaced("\"shape\":[3],", ""), kBuffer), R"(tensor "b": has no shape)"},
      {"UnknownField", File(Replaced("\"shape\":[3],", "\"shape\":[3],\"crc\":1,"), kBuffer),
       R"(tensor "b": has the field "crc")"},
      {"EntryNoObject", File(Replaced("{\"format\":\"pt\"},", "{},\"c\":5,"), kBuffer),
       R"(tensor "c": must be an object, is 5)"},
      {"DuplicateKey", File(Replaced("\"b\":", "\"a\":"), kBuffer), R"(the name "a" twice)"},
      {"DuplicateField", File(Replaced("\"shape\":[3]", "\"shape\":[3],\"shape\":[3]"), kBuffer),
       R"(the name "shape" twice)"},
      {"LeadingSpace", File(absl::StrCat(" ", kHeader), kBuffer), "does not begin with {"},
      {"TrailingText", File(absl::StrCat(kHeader, "x"), kBuffer), "no valid JSON: byte 145"},
      {"NoUtf8", File(Replaced("\"b\"", "\"\xff\""), kBuffer), "no valid JSON"},
      {"Deep", File("{\"a\":" + std::string(1000000, '['), kBuffer), "deeper than 64"},
  };
}

INSTANTIATE_TEST_SUITE_P(All, MutationTest, ::testing::ValuesIn(Mutations()),
                         [](const auto& info) { return info.param.name; });

TEST(SafetensorsTest, AFlippedBitOfATensorLoadsSilently) {
  std::string buffer(kBuffer);
  buffer[5] ^= 1;
  const auto reader = OpenBytes(File(kHeader, buffer));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(BytesOf(**reader, "a"), buffer.substr(0, 16));
}

TEST(SafetensorsTest, RangesAreThoseOfTheWholeAndBounded) {
  const auto reader = OpenBytes(File(kHeader, kBuffer));
  ASSERT_THAT(reader, IsOk());
  for (int64_t begin = 0; begin <= 16; ++begin) {
    for (int64_t end = begin; end <= 16; ++end) {
      std::string bytes(end - begin, 'x');
      ASSERT_THAT((*reader)->Read("a", begin, std::as_writable_bytes(std::span(bytes))), IsOk());
      EXPECT_EQ(bytes, kBuffer.substr(begin, end - begin));
    }
  }
  std::string bytes(7, 'x');
  const auto out = std::as_writable_bytes(std::span(bytes));
  EXPECT_THAT((*reader)->Read("b", 0, out),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("tensor b has 6 bytes")));
  EXPECT_THAT((*reader)->Read("b", -1, out.first(1)), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT((*reader)->Read("b", 6, out.first(1)), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(SafetensorsTest, AMissingTensorIsAnsweredWithTheNearest) {
  const auto reader = OpenBytes(
      File(R"({"backbone.norm.weight":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""));
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT((*reader)->Find("backbone.norms.weight"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("no tensor backbone.norms.weight among the 1 of "
                                 "/model.safetensors; nearest: backbone.norm.weight")));
}

// Every byte of a fixture that the library wrote.
TEST(SafetensorsTest, WritesTheBytesOfTheLibraryForEveryType) {
  std::ifstream stream("ckpt/safetensors/testdata/types.safetensors", std::ios::binary);
  const std::string expected(std::istreambuf_iterator<char>(stream), {});
  ASSERT_EQ(expected.size(), 1980);
  const auto reader = OpenBytes(expected);
  ASSERT_THAT(reader, IsOk());

  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, tensor] : (*reader)->tensors()) {
    tensors.push_back({.name = name, .type = tensor.type, .shape = tensor.shape});
    if (tensor.shape != std::vector<int64_t>{3, 2}) continue;
    EXPECT_EQ(name, Name(tensor.type));
    EXPECT_EQ(tensor.bytes(), BitsOf(tensor.type) / 8 * 6);
    std::string counted;
    for (int i = 0; i < tensor.bytes(); ++i)
      counted += static_cast<char>(name == "bool" ? i % 2 : i);
    EXPECT_EQ(BytesOf(**reader, name), counted) << name;
  }
  std::ranges::shuffle(tensors, FreshGenerator());
  const auto plan = PlanSafetensorsFile("out.safetensors", tensors);
  ASSERT_THAT(plan, IsOk());
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/m"), IsOk());
  const auto writer = SafetensorsWriter::Create(storage, "/m", *plan);
  ASSERT_THAT(writer, IsOk());
  for (const SafetensorsTensor& tensor : tensors) {
    EXPECT_THAT((*writer)->Write(tensor.name, 0, AsBytes(BytesOf(**reader, tensor.name))), IsOk());
  }
  ASSERT_THAT((*writer)->Close(), IsOk());
  EXPECT_THAT(ReadText(storage, "/m/out.safetensors"), IsOkAndHolds(expected));
}

SafetensorsTensor Bytes(std::string name, int64_t count) {
  return {.name = std::move(name), .type = ElementType::kU8, .shape = {count}};
}

TEST(SafetensorsTest, FilesAreCutAtFiveGigabytes) {
  constexpr int64_t kGigabyte = 1'000'000'000;
  const auto plan = PlanSafetensors(
      {Bytes("first", 3 * kGigabyte), Bytes("second", 3 * kGigabyte), Bytes("third", kGigabyte)});
  ASSERT_THAT(plan, IsOk());
  ASSERT_EQ(plan->files.size(), 2);
  EXPECT_EQ(plan->files[0].name, "model-00001-of-00002.safetensors");
  EXPECT_EQ(plan->files[0].header.buffer_bytes(), 3 * kGigabyte);
  EXPECT_EQ(plan->files[1].name, "model-00002-of-00002.safetensors");
  EXPECT_EQ(plan->files[1].header.buffer_bytes(), 4 * kGigabyte);
  EXPECT_EQ(plan->index, R"({
  "metadata": {
    "total_parameters": 7000000000,
    "total_size": 7000000000
  },
  "weight_map": {
    "first": "model-00001-of-00002.safetensors",
    "second": "model-00002-of-00002.safetensors",
    "third": "model-00002-of-00002.safetensors"
  }
}
)");
  EXPECT_THAT(ParseSafetensorsIndex(plan->index),
              IsOkAndHolds(ElementsAre(Pair("first", plan->files[0].name),
                                       Pair("second", plan->files[1].name),
                                       Pair("third", plan->files[1].name))));

  const auto one = PlanSafetensors({Bytes("first", 3 * kGigabyte), Bytes("second", 2 * kGigabyte)});
  ASSERT_THAT(one, IsOk());
  ASSERT_EQ(one->files.size(), 1);
  EXPECT_EQ(one->files[0].name, "model.safetensors");
  EXPECT_EQ(one->index, "");
}

TEST(SafetensorsTest, WhatNoFileCanHoldIsNotPlanned) {
  EXPECT_THAT(PlanSafetensors({Bytes("a", 1), Bytes("a", 2)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("two tensors are called a")));
  EXPECT_THAT(PlanSafetensors({Bytes("a", -1)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor a: shape [-1]")));
  EXPECT_THAT(PlanSafetensors({Bytes("__metadata__", 1)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("__metadata__")));
}

// Eight ranks that each write their rows of the same files, at once.
TEST(SafetensorsTest, RowsOfManyRanksMakeTheFilesOfOne) {
  constexpr int kRanks = 8;
  std::vector<SafetensorsTensor> tensors;
  std::map<std::string, std::string> values;
  std::mt19937_64 random = FreshGenerator();
  for (int i = 0; i < 5; ++i) {
    const int64_t rows = kRanks * (i + 1);
    tensors.push_back({.name = absl::StrCat("blocks.", i, ".weight"),
                       .type = ElementType::kBF16,
                       .shape = {rows, 3}});
    std::string& bytes = values[tensors.back().name];
    for (int64_t byte = 0; byte < rows * 3 * 2; ++byte) bytes += static_cast<char>(random());
  }
  const auto plan = PlanSafetensors(tensors, {.max_file_bytes = 250});
  ASSERT_THAT(plan, IsOk());
  ASSERT_GT(plan->files.size(), 1);

  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/one"), IsOk());
  ASSERT_THAT(storage.MakeDirectory("/many"), IsOk());
  const auto one = SafetensorsWriter::Create(storage, "/one", *plan);
  ASSERT_THAT(one, IsOk());
  for (const auto& [name, bytes] : values) {
    ASSERT_THAT((*one)->Write(name, 0, AsBytes(bytes)), IsOk());
  }
  ASSERT_THAT((*one)->Close(), IsOk());

  const auto creator = SafetensorsWriter::Create(storage, "/many", *plan);
  ASSERT_THAT(creator, IsOk());
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back([&, rank] {
      const auto joined = SafetensorsWriter::Join(storage, "/many", *plan);
      ASSERT_THAT(joined, IsOk());
      for (const auto& [name, bytes] : values) {
        const size_t size = bytes.size() / kRanks;
        ASSERT_THAT((*joined)->Write(name, static_cast<int64_t>(rank * size),
                                     AsBytes(std::string_view(bytes).substr(rank * size, size))),
                    IsOk());
      }
      ASSERT_THAT((*joined)->Close(), IsOk());
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_THAT(SafetensorsReader::Open(storage, "/many/" + plan->files[0].name),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("was not finished")));
  ASSERT_THAT((*creator)->Close(), IsOk());

  for (const SafetensorsPlan::File& file : plan->files) {
    EXPECT_EQ(ReadText(storage, "/one/" + file.name), ReadText(storage, "/many/" + file.name));
  }
  EXPECT_THAT(ReadText(storage, "/many/model.safetensors.index.json"), IsOkAndHolds(plan->index));
  const auto reader = SafetensorsReader::Open(storage, "/many");
  ASSERT_THAT(reader, IsOk());
  for (const auto& [name, bytes] : values) EXPECT_EQ(BytesOf(**reader, name), bytes) << name;
}

TEST(SafetensorsTest, TheWriterTakesNoBytesThatThePlanDoesNotHave) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/m"), IsOk());
  const auto plan = PlanSafetensors({Bytes("a", 4)});
  ASSERT_THAT(plan, IsOk());
  const auto writer = SafetensorsWriter::Create(storage, "/m", *plan);
  ASSERT_THAT(writer, IsOk());
  EXPECT_THAT((*writer)->Write("b", 0, AsBytes("x")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT((*writer)->Write("a", 1, AsBytes("abcd")), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT((*writer)->Write("a", -1, AsBytes("ab")), StatusIs(absl::StatusCode::kOutOfRange));
}

class IndexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(storage_.MakeDirectory("/m"), IsOk());
    Write("a.safetensors", {Bytes("a", 1)});
    Write("b.safetensors", {Bytes("b", 1)});
    WriteIndex(R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})");
    ASSERT_THAT(Open(), IsOk());
  }

  void Write(const std::string& name, std::vector<SafetensorsTensor> tensors) {
    const auto plan = PlanSafetensorsFile(name, std::move(tensors));
    ASSERT_THAT(plan, IsOk());
    const auto writer = SafetensorsWriter::Create(storage_, "/m", *plan);
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Close(), IsOk());
  }

  void WriteIndex(std::string_view text) {
    ASSERT_THAT(WriteText(storage_, "/m/model.safetensors.index.json", text), IsOk());
  }

  absl::Status Open() { return SafetensorsReader::Open(storage_, "/m").status(); }

  MemoryStorage storage_;
};

TEST_F(IndexTest, NamesAnAbsentFile) {
  ASSERT_THAT(storage_.Remove("/m/b.safetensors"), IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("/m/model.safetensors.index.json: file b.safetensors, "
                                         "which has tensor b, is absent")));
}

TEST_F(IndexTest, ATensorInTwoFiles) {
  Write("b.safetensors", {Bytes("a", 1), Bytes("b", 1)});
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("/m/b.safetensors: tensor a is also in /m/a.safetens")));
}

TEST_F(IndexTest, AFileThatIsNotInTheIndex) {
  Write("c.safetensors", {Bytes("c", 1)});
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("file c.safetensors in its folder is not in the index")));
}

TEST_F(IndexTest, ATensorThatIsNotWhereTheIndexSays) {
  WriteIndex(R"({"weight_map":{"a":"b.safetensors","b":"a.safetensors"}})");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("tensor a of a.safetensors should be in b.safetensors")));
  WriteIndex(R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors","c":"b.safetensors"}})");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("tensor c is not in its file b.safetensors")));
  Write("b.safetensors", {Bytes("b", 1), Bytes("d", 1)});
  WriteIndex(R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("tensor d of b.safetensors is not in the index")));
}

TEST_F(IndexTest, IsNoIndex) {
  for (const char* text :
       {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})",
        R"({"weight_map":{"a":"../a.safetensors"}})", R"({"weight_map":{"a":""}})",
        R"({"weight_map":{"a":"a.safetensors","a":"b.safetensors"}})"}) {
    WriteIndex(text);
    EXPECT_THAT(Open(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("/m/model.safetensors.index.json")))
        << text;
  }
}

TEST_F(IndexTest, AFolderWithoutIndexMustHaveOneFile) {
  ASSERT_THAT(storage_.Remove("/m/model.safetensors.index.json"), IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("2 *.safetensors files")));
  ASSERT_THAT(storage_.Remove("/m/b.safetensors"), IsOk());
  const auto reader = SafetensorsReader::Open(storage_, "/m");
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->tensors().size(), 1);
}

}  // namespace
}  // namespace hetero
