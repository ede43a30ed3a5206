// The program as a user meets it: what it prints, its exit codes, and its advice followed.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/shell_word.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kBazelRun = "bazel run //tools:dataset_check --";

struct Result {
  int exit_code = 0;
  std::string output;  // standard output and error
};

// Runs a shell command; what messages tell to run with Bazel runs the program of this build.
Result Shell(std::string_view command, const fs::path& folder) {
  static const std::string program = data::ShellWord(fs::absolute("tools/dataset_check").native());
  const std::string text =
      absl::StrCat("cd ", data::ShellWord(folder.native()), " && { ",
                   absl::StrReplaceAll(command, {{kBazelRun, program}}), "; } 2>&1");
  Result result;
  FILE* const pipe = popen(text.c_str(), "r");
  std::array<char, 4096> piece;
  while (const size_t size = fread(piece.data(), 1, piece.size(), pipe)) {
    result.output.append(piece.data(), size);
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Result Check(std::string_view arguments, const fs::path& folder) {
  return Shell(absl::StrCat(kBazelRun, " ", arguments), folder);
}

// What follows `introduction` in `output`, to the end of its line.
std::string CommandBehind(std::string_view output, std::string_view introduction) {
  const size_t begin = output.find(introduction);
  EXPECT_NE(begin, output.npos) << output;
  if (begin == output.npos) return "false";
  const std::string_view rest = output.substr(begin + introduction.size());
  return std::string(rest.substr(0, rest.find('\n')));
}

std::string Png() {
  data::Image image;
  image.Reshape({.height = 6, .width = 5}, 1);
  return data::EncodePng(image).value();
}

using Members = std::vector<std::pair<std::string, std::string>>;

void WriteTar(const fs::path& path, const Members& members) {
  data::TarWriter writer = data::TarWriter::Create(path).value();
  for (const auto& [name, payload] : members) ASSERT_THAT(writer.Add(name, payload), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
}

Members Good(std::string_view prefix, int count) {
  Members members;
  for (int i = 0; i < count; ++i) {
    members.emplace_back(absl::StrCat(prefix, i, ".png"), Png());
    members.emplace_back(absl::StrCat(prefix, i, ".txt"), "grey");
  }
  return members;
}

// The name has what a shell would take apart.
fs::path Folder() { return data::FreshFolder("it's a set"); }

TEST(DatasetCheckTest, WhatCannotBeReadIsNamedAndExcludedAsTold) {
  const fs::path folder = Folder();
  Members members = Good("g", 3);
  members.emplace_back("empty.png", "");
  members.emplace_back("empty.txt", "grey");
  members.emplace_back("other.jpg", "GIF89a...");
  members.emplace_back("other.txt", "grey");
  WriteTar(folder / "a.tar", members);

  const Result unprepared = Check(".", folder);
  EXPECT_EQ(unprepared.exit_code, 2);
  const Result prepared = Shell(CommandBehind(unprepared.output, "prepare it: "), "/");
  EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  EXPECT_THAT(prepared.output,
              AllOf(HasSubstr("excluded a.tar/empty: member empty.png: the file has 0 bytes"),
                    HasSubstr("excluded a.tar/other: member other.jpg: the bytes are a GIF image"),
                    HasSubstr("prepared 5 samples in 1 shards, 2 that cannot be read are excluded"),
                    HasSubstr("train: 3 samples, 2 more are excluded")));
  const Result checked = Check(".", folder);
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
  EXPECT_THAT(checked.output, HasSubstr("5 samples in 1 shards, 0 cannot be read"));

  // As another program prepares, which decodes nothing.
  ASSERT_EQ(
      Shell("printf 'split_parts: {train: [a.tar]}\\nexclude: []\\n' > .nv-meta/split.yaml", folder)
          .exit_code,
      0);
  const Result found = Check(".", folder);
  EXPECT_EQ(found.exit_code, 3) << found.output;
  EXPECT_THAT(found.output, AllOf(HasSubstr("cannot read a.tar/empty: member empty.png"),
                                  HasSubstr("5 samples in 1 shards, 2 cannot be read")));
  EXPECT_EQ(Shell(CommandBehind(found.output, "to exclude them: "), "/").exit_code, 0);
  EXPECT_EQ(Check(".", folder).exit_code, 0);
}

// Relative to where the command runs, as all its paths.
TEST(DatasetCheckTest, ImagesOfConversationsAreFoundInTheirMediaSource) {
  const fs::path folder = Folder();
  fs::create_directories(folder / "chats");
  fs::create_directories(folder / "the photos");
  WriteTar(folder / "chats/a.tar", {{"k.json", R"({"conversation": [{"sender": "user", "fragments":
                           [{"t": "image", "value": "17.png"}]}]})"}});
  std::ofstream(folder / "the photos/17.png", std::ios::binary) << Png();
  std::ofstream(folder / "samples.yaml")
      << "{__module__: megatron.energon, __class__: CrudeWebdataset}";
  const std::string media = "--media_source='filesystem://the photos' ";
  const Result prepared =
      Check(absl::StrCat("--prepare ", media, "--samples=samples.yaml chats"), folder);
  EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  EXPECT_EQ(Check(absl::StrCat(media, "chats"), folder).exit_code, 0);

  EXPECT_THAT(Check("chats", folder).output, HasSubstr("1 cannot be read"));
  fs::remove(folder / "the photos/17.png");
  const Result found = Check(absl::StrCat(media, "chats"), folder);
  EXPECT_EQ(found.exit_code, 3) << found.output;
  EXPECT_THAT(found.output, HasSubstr("no file of media source filesystem://"));
  std::ofstream(folder / "the photos/17.png", std::ios::binary) << Png();
  const Result again = Shell(CommandBehind(found.output, "to exclude them: "), "/");
  EXPECT_THAT(again.output, HasSubstr("prepared 1 samples in 1 shards, 0 that cannot be read"));
  EXPECT_EQ(Check("--media_source=msc://b chats", folder).exit_code, 2);
}

TEST(DatasetCheckTest, ScatteredMembersAreSortedAsTold) {
  const fs::path folder = Folder();
  WriteTar(folder / "a.tar",
           {{"k0.png", Png()}, {"k1.png", Png()}, {"k0.txt", "0"}, {"k1.txt", "1"}});
  const Result refused = Check("--prepare .", folder);
  EXPECT_EQ(refused.exit_code, 3) << refused.output;
  EXPECT_THAT(refused.output, Not(HasSubstr("rename")));
  EXPECT_EQ(Shell(CommandBehind(refused.output, "sort the tar by name: "), folder).exit_code, 0);
  const Result prepared = Check("--prepare .", folder);
  EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  EXPECT_THAT(prepared.output, HasSubstr("prepared 2 samples"));
}

TEST(DatasetCheckTest, AStaleIndexIsMadeAgainWithTheSplitsThatThereWere) {
  const fs::path folder = Folder();
  WriteTar(folder / "a.tar", Good("a", 4));
  WriteTar(folder / "b.tar", Good("b", 2));
  EXPECT_EQ(Check("--prepare . train=a.tar val=b.tar", folder).exit_code, 0);
  WriteTar(folder / "a.tar", Good("new", 7));
  const Result stale = Check(".", folder);
  EXPECT_EQ(stale.exit_code, 3) << stale.output;
  const Result again = Shell(CommandBehind(stale.output, "prepare the data set again: "), "/");
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, AllOf(HasSubstr("train: 7 samples"), HasSubstr("val: 2 samples")));
  EXPECT_EQ(Shell("test ! -e .nv-meta.tmp && test ! -e .nv-meta.old", folder).exit_code, 0);
}

TEST(DatasetCheckTest, ConversationsArePreparedAsTheirFileSays) {
  const fs::path folder = Folder();
  WriteTar(folder / "a.tar", {{"k0.json", R"({"conversation": [{"sender": "user", "fragments": )"
                                          R"([{"t": "image", "value": "png"}]}]})"},
                              {"k0.png", Png()},
                              {"k1.json", "{"}});
  ASSERT_EQ(
      Shell("printf '__module__: megatron.energon\\n__class__: CrudeWebdataset\\n' > kind.yaml",
            folder)
          .exit_code,
      0);
  const Result prepared = Check("--prepare --samples=kind.yaml .", folder);
  EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  EXPECT_THAT(prepared.output,
              AllOf(HasSubstr("excluded a.tar/k1: member k1.json: is not valid JSON"),
                    HasSubstr("train: 1 samples, 1 more are excluded")));
  EXPECT_EQ(Check(".", folder).exit_code, 0);
  const Result captions = Check("--prepare --image=png .", folder);
  EXPECT_EQ(captions.exit_code, 2);
  EXPECT_THAT(captions.output, HasSubstr("the folder's are of class CrudeWebdataset"));
}

TEST(DatasetCheckTest, ACommandThatCannotWorkIsExitCodeTwo) {
  const fs::path folder = Folder();
  for (const auto& [arguments, says] : std::vector<std::pair<std::string, std::string>>{
           {"", "no folder is named"},
           {"--prepara .", "unknown flag --prepara"},
           {". train=a.tar", "with --prepare only"},
           {"--image= --prepare .", "--image= is empty; write --image=EXTENSIONS"},
           {"--prepare --caption=txt . --caption=json",
            "--caption=txt and --caption=json are both given; give one of them"},
           {"--prepare . train", "unexpected argument \"train\""},
           {"nowhere", absl::StrCat("there is no folder ", folder.native(), "/nowhere")},
           {"--prepare .", "holds no .tar file"}}) {
    const Result result = Check(arguments, folder);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(says));
  }
  EXPECT_EQ(Check("--help", folder).exit_code, 0);
  EXPECT_EQ(Check("--help > /dev/full", folder).exit_code, 7);
}

}  // namespace
}  // namespace hetero
