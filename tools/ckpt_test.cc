// The program as a user meets it: what it prints and its exit codes.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/testing/two_tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/data/file/shell_word.h"
#include "hetero/data/file/test_folder.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Result {
  int exit_code = 0;
  std::string output;  // standard output and error
};

Result RunProgram(std::string_view binary, std::string_view arguments, const fs::path& folder) {
  static const fs::path start = fs::current_path();
  const std::string program = data::ShellWord((start / binary).native());
  const std::string text = absl::StrCat("cd ", data::ShellWord(folder.native()), " && ", program,
                                        " ", arguments, " 2>&1");
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

Result Ckpt(std::string_view arguments, const fs::path& folder) {
  return RunProgram("tools/ckpt", arguments, folder);
}

TEST(CkptTest, ListsVerifiesComparesAndConverts) {
  const fs::path folder = data::FreshFolder("checkpoints");
  PosixStorage storage;
  ASSERT_THAT(PublishTwoTensors(storage, folder, 10), IsOk());
  ASSERT_THAT(PublishTwoTensors(storage, folder, 20, /*change=*/0.25), IsOk());

  Result result = Ckpt("list .", folder);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("  iter_0000010  0.000 GB, 2 tensors"),
                                   HasSubstr("* iter_0000020  0.000 GB, 2 tensors")));
  result = Ckpt("list iter_0000010/", folder);
  EXPECT_THAT(result.output, HasSubstr("w  f32  [4,8]  2 chunks  128 bytes"));

  result = Ckpt("verify .", folder);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("iter_0000010: 4 files"), HasSubstr("iter_0000020: 4 files")));

  result = Ckpt("diff iter_0000010 iter_0000020", folder);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output, HasSubstr("w: 1 of 32 elements differ, by 0.25 at most"));
  EXPECT_EQ(Ckpt("convert iter_0000010 exported", folder).exit_code, 0);
  result = Ckpt("diff iter_0000010 exported", folder);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("2 tensors are equal"));

  // And back: a folder of its own, with the same bytes.
  result = Ckpt("convert --iteration=7 exported imported", folder);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(Ckpt("diff iter_0000010 imported/iter_0000007", folder).exit_code, 0);
  EXPECT_EQ(Ckpt("verify imported", folder).exit_code, 0);
  EXPECT_THAT(Ckpt("list imported", folder).output, HasSubstr("* iter_0000007"));
  // As another program's, without its manifest.
  fs::remove(folder / "imported/iter_0000007/manifest.json");
  fs::remove(folder / "imported/iter_0000007/COMMIT");
  result = Ckpt("diff exported imported/iter_0000007", folder);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(Ckpt("verify imported", folder).output, HasSubstr("written by another program"));

  fs::resize_file(folder / "iter_0000010/__1_0.distcp", 40);
  result = Ckpt("verify .", folder);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("iter_0000010/__1_0.distcp, tensor \"w\": has 40 bytes"),
                    HasSubstr("1 of 2 checkpoints are damaged")));
}

TEST(CkptTest, StateInBucketsBecomesTensorsOfParameters) {
  const fs::path folder = data::FreshFolder("buckets");
  const fs::path from = fs::current_path() / "ckpt/inspect/testdata/dp_reshardable/two";
  const auto convert = [&](std::string_view to) {
    return Ckpt(
        absl::StrCat("convert --buckets=order.json ", data::ShellWord(from.native()), " ", to),
        folder);
  };
  std::ofstream(folder / "order.json") << R"order({"groups": [{
      "buckets": "optimizer.distributed.dp_group_idx_0.gbuf_idx_0.dtype_(torch.float32, torch.float32)",
      "prefix": "optimizer.state.", "parameters": [
        [{"key": "a", "shape": [10, 10]}], [{"key": "b", "shape": [30]}],
        [{"key": "c", "shape": [8, 8]}]]}]})order";
  Result result = convert("--iteration=7 parameters");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  result = Ckpt("list parameters/iter_0000007", folder);
  EXPECT_THAT(result.output, AllOf(HasSubstr("optimizer.state.exp_avg_sq.a  f32  [10,10]"),
                                   HasSubstr("optimizer.state.param.c  f32  [8,8]")));
  EXPECT_EQ(convert("files").exit_code, 0);
  EXPECT_EQ(Ckpt("diff files parameters/iter_0000007", folder).exit_code, 0);
  std::ofstream(folder / "order.json") << "{}";
  result = convert("none");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("order.json: has no array \"groups\""));
}

TEST(CkptTest, CheckpointsOfRunsAreRepairedAndHeldAgainstOtherRuns) {
  const fs::path folder = data::FreshFolder("run");
  ASSERT_EQ(
      RunProgram("trainer/hetero", "--recipe=mock_tiny --save=saved --set train_steps=1", folder)
          .exit_code,
      0);
  Result result = Ckpt("can-load saved --recipe=mock_tiny --set train_steps=5", folder);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("saved/iter_0000001 fits this run"), HasSubstr(" 0 missing")));
  result =
      Ckpt("can-load saved/iter_0000001/ --recipe=mock_tiny --set model.hidden_size=32", folder);
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("does not fit"), HasSubstr("model.hidden_size is 32"),
                                   HasSubstr("decoder.final_norm.weight has shape [128] in the "
                                             "checkpoint and [32] in this model")));
  result =
      Ckpt("can-load saved --recipe=mock_vlm_tiny --set checkpoint.load.finetune=true", folder);
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output, HasSubstr("radio_encoder: 0 tensors found, 18 missing"));
  EXPECT_THAT(Ckpt("can-load saved --recipe=mock_tiny --dry_run", folder).output,
              HasSubstr("can-load takes those that make a configuration"));
  EXPECT_THAT(Ckpt("can-load saved --recipe=mock_vlm", folder).output, HasSubstr("mock_vlm_tiny"));
  EXPECT_EQ(Ckpt("can-load nowhere --recipe=mock_tiny", folder).exit_code, 2);
}

TEST(CkptTest, CommandsThatCannotWorkSayWhatWould) {
  const fs::path folder = data::FreshFolder("empty");
  for (const auto& [arguments, message] :
       std::initializer_list<std::pair<const char*, const char*>>{
           {"", "no command is given"},
           {"check .", "there are list, verify, repair, diff, convert, can-load"},
           {"list", "list takes 1 path, 0 are given"},
           {"can-load --recipe=mock_tiny", "can-load takes a path"},
           {"diff a", "diff takes 2 paths, 1 are given"},
           {"--deep verify .", "unknown flag --deep"},
           {"verify --prefix=x .",
            "--buckets, --prefix and --iteration are used with convert only"},
           {"verify .", "holds no checkpoint"},
           {"list nowhere", "nowhere"}}) {
    const Result result = Ckpt(arguments, folder);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.output, HasSubstr(message)) << arguments;
  }
  EXPECT_EQ(Ckpt("--help", folder).exit_code, 0);
}

}  // namespace
}  // namespace hetero
