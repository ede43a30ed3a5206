// The pages on flags say what the program says.

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(DocumentationTest, TheReadmeHasTheFlagsOfTheProgram) {
  std::string expected = "\n| flag | means |\n| --- | --- |\n";
  for (const FlagDescription& flag : FlagTable()) {
    const std::string row = absl::StrCat("`", flag.form, "` @ ", flag.meaning);
    absl::StrAppend(&expected, "| ", absl::StrReplaceAll(row, {{"|", "\\|"}, {"@", "|"}}), " |\n");
  }
  expected += "\n";
  EXPECT_THAT(ReadFile("trainer/README.md"), HasSubstr(expected));
}

// The field paths in the second column of the table from another system's flags; ".field" stands
// beside the one before it.
std::vector<std::string> FieldsOfPage(const std::string& page) {
  std::vector<std::string> fields;
  for (const std::string_view line : absl::StrSplit(page, '\n')) {
    const std::vector<std::string_view> columns = absl::StrSplit(line, '|');
    if (columns.size() != 4) continue;
    std::string last;
    const std::vector<std::string_view> pieces = absl::StrSplit(columns[2], '`');
    for (size_t i = 1; i < pieces.size(); i += 2) {
      const bool beside = pieces[i].starts_with('.');
      const bool is_path = absl::StrContains(pieces[i], '.') || absl::StrContains(pieces[i], '_');
      if (!is_path || absl::ascii_isupper(static_cast<unsigned char>(pieces[i][0]))) continue;
      last = beside ? absl::StrCat(last.substr(0, last.rfind('.')), pieces[i])
                    : std::string(pieces[i]);
      fields.push_back(absl::StrReplaceAll(last, {{"encoder.", "radio_encoder."}}));
    }
  }
  return fields;
}

TEST(DocumentationTest, ThePageOfFlagsNamesFieldsThereAre) {
  proto::VisionLanguageModel::descriptor();  // links it
  const std::vector<std::string> fields = FieldsOfPage(ReadFile("trainer/docs/flags.md"));
  EXPECT_GT(fields.size(), 60);
  for (const std::string& field : fields) {
    const bool of_model = field.starts_with("model.");
    const std::string path =
        of_model ? absl::StrReplaceAll(field, {{"radio_encoder.", "encoder."}}) : field;
    proto::RunConfig config = ParseRunConfig(*FindRecipe(kDefaultRecipe), kDefaultRecipe).value();
    const absl::Status set = SetField(absl::StrCat(path, "=?"), config);
    EXPECT_THAT(std::string(set.message()), ::testing::Not(HasSubstr("has no field"))) << path;
  }
}

}  // namespace
}  // namespace hetero
