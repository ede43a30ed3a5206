#include "hetero/trainer/timing/machine_table.h"

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::string_view kText = R"(description: "two cores"
cores: 2
storage: F32
peak_flops: 1e9
copy_bytes: 1e8
host_seconds: 1e-3
wake_seconds: 0
operations { name: "add" call_seconds: 0.5 flops_per_second: 10 bytes_per_second: 4 }
traffic { kind: "exchange" call_seconds: 0.25 bytes_per_second: 8 }
)";

TEST(MachineTableTest, TimesOperationsAndMessages) {
  const MachineTable table = MachineTable::Parse(kText, "table").value();
  EXPECT_TRUE(table.is_cpu());
  EXPECT_DOUBLE_EQ(table.OperationSeconds("add", {.calls = 2, .flops = 30, .bytes = 2}),
                   2 * (0.5 + 1e-3) + 3 + 0.5);
  // Without a row, the longer of what bytes and FLOPs take.
  EXPECT_DOUBLE_EQ(table.OperationSeconds("sub", {.calls = 1, .flops = 1e9, .bytes = 1e7}), 1.001);
  EXPECT_DOUBLE_EQ(table.OperationSeconds("sub", {.calls = 1, .flops = 1e7, .bytes = 1e8}), 1.001);
  EXPECT_TRUE(table.Has("add"));
  EXPECT_FALSE(table.Has("sub"));
  EXPECT_DOUBLE_EQ(table.TrafficSeconds("all_reduce", 16), 2.25);
}

void ExpectError(const std::string& text, std::string_view part) {
  EXPECT_THAT(
      MachineTable::Parse(text, "table"),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("table"), HasSubstr(part))))
      << text;
}

TEST(MachineTableTest, NamesWhatIsWrong) {
  const std::string text(kText);
  ExpectError(absl::StrCat(text, "core: 2\n"), "table:10:");
  ExpectError(text.substr(text.find('\n')), "description");
  ExpectError(absl::StrCat(text, "exposed_share: 2\n"), "exposed_share is 2");
  ExpectError(absl::StrCat(text, "operations { name: \"add\" }\n"), "two rows 'add'");
  ExpectError(absl::StrCat(text, "operations { call_seconds: 1 }\n"), "name");
  ExpectError(
      absl::StrCat(text, "traffic { kind: \"exchange\" call_seconds: 0 bytes_per_second: 1 }\n"),
      "two rows 'exchange'");
}

TEST(MachineTableTest, IsFoundByNameOrFile) {
  for (const std::string_view name : MachineNames()) {
    EXPECT_THAT(LoadMachine(name, "/"), IsOk()) << name;
  }
  const std::filesystem::path folder = ::testing::TempDir();
  ASSERT_THAT(data::WriteFileAtomically(folder / "mine.textproto", kText), IsOk());
  EXPECT_THAT(LoadMachine("mine.textproto", folder), IsOk());
  EXPECT_THAT(LoadMachine("h20", folder), StatusIs(absl::StatusCode::kNotFound, HasSubstr("h200")));
}

}  // namespace
}  // namespace hetero
