// Writes the pattern checkpoints into folders "grid" and "irregular" of the one named, for
// testdata/read_with_python.py.

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "absl/status/status.h"
#include "hetero/ckpt/format/testing/pattern_checkpoint.h"
#include "hetero/ckpt/storage/posix_storage.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_pattern_checkpoint FOLDER\n";
    return EXIT_FAILURE;
  }
  hetero::PosixStorage storage;
  const std::filesystem::path folder = argv[1];
  absl::Status status =
      hetero::WritePatternCheckpoint(storage, folder / "grid", hetero::PatternBoxes::kGrid);
  status.Update(hetero::WritePatternCheckpoint(storage, folder / "irregular",
                                               hetero::PatternBoxes::kIrregular));
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
