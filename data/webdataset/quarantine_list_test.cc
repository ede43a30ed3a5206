#include "hetero/data/webdataset/quarantine_list.h"

#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

ListedSample Sample(std::string name) {
  return {.data_set = "/data/\"chats\"",
          .sample = std::move(name),
          .reason = "PNG: \n\tbad \\ CRC \x01",
          .found = "2026-11-29T01:26:52+00:00"};
}

TEST(QuarantineListTest, ReadsWhatItWrites) {
  const std::vector<ListedSample> samples = {Sample("a.tar/1"), Sample("b/c.tar/d/\xc3\xa9"),
                                             Sample("shard.tar")};
  EXPECT_THAT(ParseQuarantine(FormatQuarantine(samples)), IsOkAndHolds(samples));
}

// A key of a damaged archive may be any bytes; the line stays JSON.
TEST(QuarantineListTest, BytesThatAreNoTextAreReplaced) {
  const std::string text = FormatQuarantine(std::vector<ListedSample>{Sample("a.tar/\xff")});
  EXPECT_THAT(ParseQuarantine(text), IsOkAndHolds(ElementsAre(Sample("a.tar/\xef\xbf\xbd"))));
}

TEST(QuarantineListTest, ABadLineIsNamed) {
  const std::string good = FormatQuarantine(std::vector<ListedSample>{Sample("a.tar/1")});
  struct Fault {
    std::string_view line;
    std::string_view says;
  };
  for (const Fault& fault :
       {Fault{"a.tar/1", "line 2: is no JSON object"}, Fault{"[]", "line 2: is no JSON object"},
        Fault{"{\"data_set\": \"/a\", \"sample\": 3}", "line 2: has no text \"sample\""},
        Fault{"{\"data_set\": \"/a\", \"sample\": \"s\", \"reason\": \"\"}",
              "line 2: has no text \"found\""},
        Fault{"{\"data_set\": \"\", \"sample\": \"\", \"reason\": \"\", \"found\": \"\", \"x\": 1}",
              "line 2: has more than"}}) {
    EXPECT_THAT(ParseQuarantine(absl::StrCat(good, fault.line)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(fault.says)));
  }
}

TEST(QuarantineListTest, AFileThatIsNotThereIsEmptyAndOneThatIsBadIsNamed) {
  const std::filesystem::path path = FreshFolder("list") / "bad.jsonl";
  EXPECT_THAT(ReadQuarantine(path), IsOkAndHolds(IsEmpty()));
  ASSERT_THAT(WriteFileAtomically(path, "nonsense\n"), IsOk());
  EXPECT_THAT(ReadQuarantine(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                             AllOf(HasSubstr(path.native()), HasSubstr("line 1"))));
}

TEST(QuarantineListTest, RunsThatShareAFileLoseNothing) {
  const std::filesystem::path path = FreshFolder("shared") / "bad.jsonl";
  std::vector<std::thread> runs;
  for (int run = 0; run < 4; ++run) {
    runs.emplace_back([&path, run] {
      for (int i = 0; i < 5; ++i) {
        // Every other sample is found by two runs.
        const int number = i % 2 == 0 ? i : 10 * run + i;
        EXPECT_THAT(AddToQuarantine(
                        path, std::vector<ListedSample>{Sample(absl::StrCat("a.tar/", number))}),
                    IsOk());
      }
    });
  }
  for (std::thread& run : runs) run.join();
  EXPECT_THAT(ReadQuarantine(path), IsOkAndHolds(SizeIs(3 + 4 * 2)));
}

}  // namespace
}  // namespace hetero::data
