#include "hetero/ckpt/format/pickle.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/format/pickle_writer.h"
#include "hetero/ckpt/format/torch_object.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// A literal with zeros in it.
template <size_t N>
std::string Raw(const char (&text)[N]) {
  return std::string(text, N - 1);
}

absl::StatusOr<nlohmann::json> Read(std::string bytes) {
  absl::StatusOr<std::unique_ptr<Pickle>> pickle = Pickle::Parse(std::move(bytes));
  if (!pickle.ok()) return pickle.status();
  return ToJson(**pickle);
}

std::string Written(const nlohmann::json& value) {
  PickleWriter writer(/*memo=*/true);
  writer.Value(value);
  return std::move(writer).Finish();
}

TEST(PickleTest, ValuesComeBackAsTheyWere) {
  nlohmann::json many = nlohmann::json::array();
  // More texts than a short reference can name.
  for (int i = 0; i < 600; ++i) many.push_back(absl::StrCat("text ", i % 300));
  const nlohmann::json value = {
      {"null", nullptr},
      {"bools", {true, false}},
      {"integers",
       {0, 255, 256, 65535, 65536, 2147483647, 2147483648, -1, -2147483649,
        std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(),
        std::numeric_limits<uint64_t>::max()}},
      {"floats",
       {0.1, -0.0, 1e300, std::numeric_limits<double>::denorm_min(),
        std::numeric_limits<double>::infinity()}},
      {"text", "\xc3\xa9\n'"},
      {"empty", {nlohmann::json::array(), nlohmann::json::object(), ""}},
      {"many", many}};
  EXPECT_THAT(Read(Written(value)), IsOkAndHolds(value));
  const auto nan = Read(Written(std::nan("")));
  ASSERT_THAT(nan, IsOk());
  EXPECT_TRUE(std::isnan(nan->get<double>()));
}

// pickle.dumps((1, [2.5, "a", b"b", {3}], {"k": None}, 2**63), protocol) of Python.
TEST(PickleTest, EveryProtocolGivesTheSame) {
  const nlohmann::json expected = {1,
                                   {2.5, "a", {{"__bytes__", "62"}}, nlohmann::json::array({3})},
                                   {{"k", nullptr}},
                                   uint64_t{1} << 63};
  const std::string four =
      Raw("\x80\x04\x95\x31\0\0\0\0\0\0\0(K\x01]\x94(G@\x04\0\0\0\0\0\0\x8c\x01"
          "a\x94"
          "C\x01"
          "b\x94\x8f\x94(K\x03\x90"
          "e}\x94\x8c\x01k\x94Ns\x8a\x09\0\0\0\0\0\0\0\x80\0t\x94.");
  std::string five = four;
  five[1] = 5;
  EXPECT_THAT(Read(four), IsOkAndHolds(expected));
  EXPECT_THAT(Read(five), IsOkAndHolds(expected));
  const std::string two =
      Raw("\x80\x02(K\x01]q\0(G@\x04\0\0\0\0\0\0X\x01\0\0\0aq\x01"
          "c_codecs\nencode\nq\x02X\x01\0\0\0bq\x03X\x06\0\0\0latin1q\x04\x86q\x05Rq\x06"
          "c__builtin__\nset\nq\x07]q\x08K\x03"
          "a\x85q\tRq\ne}q\x0bX\x01\0\0\0kq\x0cNs\x8a\x09\0\0\0\0\0\0\0\x80\0tq\r.");
  const auto read = Read(two);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ((*read)[0], 1);
  EXPECT_EQ((*read)[1][0], 2.5);
  // What protocol 2 has no opcode for is a call, of which we know the name.
  EXPECT_EQ((*read)[1][2]["__class__"], "_codecs.encode");
  EXPECT_EQ((*read)[1][3]["arguments"], (nlohmann::json{{3}}));
  EXPECT_EQ((*read)[3], uint64_t{1} << 63);
}

TEST(PickleTest, WhatIsNamedIsNotCalled) {
  EXPECT_THAT(Read(Raw("\x80\x02"
                       "cos\nsystem\nX\x0a\0\0\0touch /bad\x85R.")),
              IsOkAndHolds(nlohmann::json{{"__class__", "os.system"},
                                          {"arguments", nlohmann::json::array({"touch /bad"})}}));
  EXPECT_THAT(Read(Raw("\x80\x04\x8c\x02os\x8c\x06system\x93.")),
              IsOkAndHolds(nlohmann::json{{"__global__", "os.system"}}));
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* message;
};

void PrintTo(const Hostile& hostile, std::ostream* out) { *out << hostile.name; }

class HostileTest : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileTest, IsAnError) {
  EXPECT_THAT(Read(GetParam().bytes),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(GetParam().message)));
}

std::string Repeated(std::string_view text, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += text;
  return bytes;
}

// A list of itself twice, 200 times over.
std::string DoubledLists() {
  std::string bytes = Raw("\x80\x02]");
  for (int i = 0; i < 200; ++i) {
    bytes += Raw("q\0h\0\x86");
  }
  return bytes + ".";
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileTest,
    ::testing::Values(
        Hostile{"Empty", "", "byte 0: no opcode ."},
        Hostile{"UnknownOpcode", Raw("\x80\x02\xff."), "byte 2: opcode ff"},
        Hostile{"TextOpcodesOfProtocol0", "I1\n.", "opcode 49"},
        Hostile{"LaterProtocol", Raw("\x80\x06N."), "protocol 6"},
        Hostile{"TuplesAMillionDeep", ")" + Repeated("\x85", 1000000) + ".", "deeper than 256"},
        Hostile{"ListsAMillionDeep", Repeated("]", 1000000) + Repeated("a", 999999) + ".",
                "deeper than 256"},
        Hostile{"MarksAMillionDeep", Repeated("(", 1000000) + Repeated("t", 1000000) + ".",
                "deeper than 256"},
        Hostile{"TextLongerThanThePickle",
                Raw("\x80\x02X\0\0\0\x80"
                    "0123456789abc."),
                "text of 2147483648 bytes"},
        Hostile{"TextLongerByOne", Raw("X\x02\0\0\0a"), "text of 2 bytes, 1 are left"},
        Hostile{"TextOf64Bits", Raw("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "text of"},
        Hostile{"NoUtf8", Raw("X\x02\0\0\0\xc0\x80."), "not UTF-8"},
        Hostile{"Surrogate", Raw("X\x03\0\0\0\xed\xa0\x80."), "not UTF-8"},
        Hostile{"MemoOfNothing", "h\x05.", "nothing is remembered as 5"},
        Hostile{"ListInItself", Raw("]q\0h\0a."), "contains itself"},
        Hostile{"TupleInItsOwnList",
                Raw("]q\0\x85q\x01h\0h\x01"
                    "a0."),
                "contains itself"},
        Hostile{"SharedBeyondMeasure", DoubledLists(), "share parts too often"},
        Hostile{"TwoValuesAtTheEnd", "NN.", "the end with 2 values"},
        Hostile{"NoValueAtTheEnd", ".", "the end with 0 values"},
        Hostile{"MarkAtTheEnd", "N(.", "the end with"},
        Hostile{"IntegerOf255Bytes", "\x8a\xff" + std::string(255, '\1') + ".",
                "an integer of 255 bytes"},
        Hostile{"NegativeLength4", Raw("\x8b\xff\xff\xff\xff."), "text of 4294967295 bytes"},
        Hostile{"NoEnd", Raw("\x80\x02N"), "no opcode . at the end"},
        Hostile{"BytesBehindTheEnd", "N.N", "1 bytes behind it"},
        Hostile{"NothingToAppendTo", "N(Ne.", "takes none of that kind"},
        Hostile{"BelowTheMark", "N(\x85.", "takes 1 values"}, Hostile{"NoMark", "Nt.", "no mark"},
        Hostile{"KeyWithoutValue", "}(Nu.", "a key without value"},
        Hostile{"StateForNoObject", "N}b.", "state for no object"},
        Hostile{"NameOfNoText", Raw("NN\x93."), "a name that is no text"},
        Hostile{"NameWithoutEnd", "cos\nsystem", "ends in a name"},
        Hostile{"FrameTooLong", Raw("\x80\x04\x95\xff\0\0\0\0\0\0\0N."), "a frame of 255 bytes"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hetero
