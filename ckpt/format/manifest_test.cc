#include "hetero/ckpt/format/manifest.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Manifest Example() {
  Manifest manifest;
  manifest.save_id = "4f1c";
  manifest.iteration = 10;
  manifest.world_size = 2;
  manifest.grids = {{"language", {{"offset", 0}, {"tp", 2}}}};
  manifest.state = {{"consumed_train_samples", 640}};
  manifest.files = {{"__0_0.distcp", 12000, 7}, {"manifest.crc", 12, 8}};
  manifest.tensors["b"] = {
      .type = ElementType::kBF16, .shape = {5}, .chunks = {{0, 4096, 10, 0xffffffff, {{0}, {5}}}}};
  manifest.tensors["empty"] = {
      .type = ElementType::kF32, .shape = {0, 3}, .chunks = {{0, 4200, 0, 0, {{0, 0}, {0, 3}}}}};
  manifest.tensors["w"] = {
      .type = ElementType::kF32,
      .shape = {4, 8},
      .chunks = {{0, 8192, 64, 1, {{0, 0}, {2, 8}}}, {0, 8300, 64, 2, {{2, 0}, {2, 8}}}}};
  manifest.objects["language.rng_state/shard_0_1"] = {0, 100, 200, 9};
  manifest.block_bytes = 64;
  return manifest;
}

// The text is what users compare: by lines, in the order of names.
constexpr std::string_view kText = R"({"block":64,
"container":"torch_dist",
"files":[
["__0_0.distcp",12000,7],
["manifest.crc",12,8]],
"format":"mimo-ckpt",
"grids":{"language":{"offset":0,"tp":2}},
"iteration":10,
"key_style":"mcore",
"objects":{
"language.rng_state/shard_0_1":[0,100,200,9]},
"save_id":"4f1c",
"state":{"consumed_train_samples":640},
"tensors":{
"b":{"dtype":"bf16","shape":[5],"chunks":[[0,4096,10,4294967295,[0],[5]]]},
"empty":{"dtype":"f32","shape":[0,3],"chunks":[[0,4200,0,0,[0,0],[0,3]]]},
"w":{"dtype":"f32","shape":[4,8],"chunks":[[0,8192,64,1,[0,0],[2,8]],[0,8300,64,2,[2,0],[2,8]]]}},
"version":1,
"world_size":2}
)";

TEST(ManifestTest, IsWrittenAndReadBack) {
  EXPECT_EQ(ManifestText(Example()), kText);
  const auto manifest = ParseManifest(kText);
  ASSERT_THAT(manifest, IsOk());
  EXPECT_EQ(ManifestText(*manifest), kText);
  EXPECT_THAT(ParseManifest(ManifestText(Manifest{})), IsOk());
}

TEST(ManifestTest, NumbersOfTheStateAreExact) {
  Manifest manifest;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  manifest.state = {{"above_53_bits", (int64_t{1} << 53) + 1},
                    {"lowest", std::numeric_limits<int64_t>::min()},
                    {"highest", std::numeric_limits<uint64_t>::max()},
                    {"tenth", 0.1},
                    {"smallest", std::numeric_limits<double>::denorm_min()},
                    {"minus_zero", -0.0},
                    {"one", 1.0},
                    {"scales", {infinity, -infinity, nan}},
                    {"text", "\xc3\xa9\n\"\\"},
                    {"nothing", nullptr}};
  const auto read = ParseManifest(ManifestText(manifest));
  ASSERT_THAT(read, IsOk());
  for (const auto& [name, value] : manifest.state.items()) {
    if (name == "scales") continue;
    EXPECT_EQ(read->state[name], value) << name;
    EXPECT_EQ(read->state[name].is_number_float(), value.is_number_float()) << name;
  }
  EXPECT_TRUE(std::signbit(read->state["minus_zero"].get<double>()));
  EXPECT_EQ(read->state["scales"][0], infinity);
  EXPECT_EQ(read->state["scales"][1], -infinity);
  EXPECT_TRUE(std::isnan(read->state["scales"][2].get<double>()));
}

struct Damage {
  const char* name;
  std::string_view from;
  std::string_view to;
  const char* message;
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class ManifestDamageTest : public ::testing::TestWithParam<Damage> {};

TEST_P(ManifestDamageTest, IsRefused) {
  const auto& [name, from, to, message] = GetParam();
  const std::string text = absl::StrReplaceAll(kText, {{from, to}});
  ASSERT_NE(text, kText);
  EXPECT_THAT(ParseManifest(text), StatusIs(::testing::_, HasSubstr(message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, ManifestDamageTest,
    ::testing::Values(
        Damage{"NoJson", "\"block\"", "block", "no valid JSON"},
        Damage{"TwoTensorsOfOneName", "\"b\":{", "\"w\":{", "the name \"w\" twice"},
        Damage{"NoField", "\"iteration\":10,", "", "no field iteration"},
        Damage{"OtherFormat", "mimo-ckpt", "other", "format must be mimo-ckpt"},
        Damage{"LaterVersion", "\"version\":1", "\"version\":2", "version 2 of the format"},
        Damage{"OtherContainer", "torch_dist", "zarr", "container \"zarr\""},
        Damage{"NegativeOffset", "[0,4096,10,", "[0,-4096,10,",
               "tensor b: offset must be an integer from 0 to 2^63 - 1, is -4096"},
        Damage{"LengthBeyondTheFile", "[0,100,200,9]", "[0,100,12000,9]",
               "object language.rng_state/shard_0_1: 12000 bytes at 100 lie outside of "
               "__0_0.distcp with 12000"},
        Damage{"OffsetBeyondTheFile", "[0,4096,10,", "[0,9223372036854775807,10,",
               "lie outside of __0_0.distcp"},
        Damage{"NoSuchFile", "[0,4096,10,", "[2,4096,10,", "tensor b: file must be below 2, is 2"},
        Damage{"BytesOfAnotherSize", "[0,4096,10,", "[0,4096,12,",
               "tensor b: chunk [0]+[5] of bf16 has 12 bytes"},
        Damage{"ChecksumOf33Bits", "4294967295", "4294967296", "crc32 must fit in 32 bits"},
        Damage{"BoxOutside", "[2,0],[2,8]", "[3,0],[2,8]", "tensor w: chunk [3,0]+[2,8] lies outs"},
        Damage{"BoxesOverlap", "[2,0],[2,8]", "[1,0],[2,8]", "tensor w: "},
        Damage{"BoxMissing", ",[0,8300,64,2,[2,0],[2,8]]", "", "tensor w: "},
        Damage{"OffsetsOfWrongRank", "[2,0],[2,8]", "[2],[2,8]", "lies outside"},
        Damage{"UnknownType", "bf16", "bf17", "tensor b: dtype must be an element type"},
        Damage{"PlacesOverlap", "[0,8300,", "[0,8200,", "w and w overlap at byte 8200 of __0_0"},
        Damage{"TensorOverObject", "[0,4096,10,", "[0,290,10,", "overlap at byte 290"},
        Damage{"HugeShape", "\"shape\":[5]", "\"shape\":[5,9223372036854775807]", "tensor b: "},
        Damage{"FileElsewhere", "__0_0.distcp", "../x", "must name files of the directory"},
        Damage{"FileIsTheManifest", "\"manifest.crc\"", "\"manifest.json\"",
               "must name files of the directory"},
        Damage{"NoBlock", "\"block\":64", "\"block\":0", "block must be at least 1"}),
    [](const auto& info) { return info.param.name; });

TEST(ManifestTest, BlockSumsBelongToChunks) {
  const Manifest manifest = Example();
  EXPECT_EQ(NumBlocks(manifest.tensors.at("b").chunks[0], 4), 3);
  EXPECT_EQ(NumBlocks(manifest.tensors.at("empty").chunks[0], 4), 0);
  const std::string text = BlockSumsText(std::vector<uint32_t>{0x01020304, 5, 6});
  EXPECT_EQ(text, std::string("\x04\x03\x02\x01\5\0\0\0\6\0\0\0", 12));
  const auto sums = BlockSums::Parse(manifest, text);
  ASSERT_THAT(sums, IsOk());
  EXPECT_THAT(sums->Of("b", 0), ElementsAre(0x01020304));
  EXPECT_THAT(sums->Of("empty", 0), IsEmpty());
  EXPECT_THAT(sums->Of("w", 0), ElementsAre(5));
  EXPECT_THAT(sums->Of("w", 1), ElementsAre(6));
  for (const std::string& wrong : {text.substr(1), text + "x", text + text, std::string()}) {
    EXPECT_THAT(BlockSums::Parse(manifest, wrong),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("manifest.crc has")));
  }
}

TEST(ManifestTest, CommitIsTheHashOfTheManifest) {
  EXPECT_EQ(CommitText("abc"),
            "sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad "
            "manifest.json\n");
  std::string text(kText);
  const std::string commit = CommitText(text);
  EXPECT_THAT(CheckCommit(commit, text), IsOk());
  EXPECT_THAT(CheckCommit("", text), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(CheckCommit(commit + "\n", text), StatusIs(absl::StatusCode::kDataLoss));
  text[100] ^= 1;
  EXPECT_THAT(CheckCommit(commit, text),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("COMMIT is \"sha256 ")));
}

}  // namespace
}  // namespace hetero
