// Encodes the documents of a file, each behind a line with its size in bytes, and prints the speed.
//
//   encode_benchmark TOKENIZER DOCUMENTS
//
// encode_benchmark.py makes the files and runs it beside the reference.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"

namespace {

using namespace hetero::data;  // NOLINT: a program

absl::Status Run(const char* tokenizer_file, const char* documents_file) {
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const Tokenizer> tokenizer,
                          LoadTokenizer(tokenizer_file));
  HETERO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(documents_file));
  std::vector<std::string_view> documents;
  for (std::string_view rest = bytes; !rest.empty();) {
    const size_t end = rest.find('\n');
    size_t size = 0;
    if (end == std::string_view::npos || !absl::SimpleAtoi(rest.substr(0, end), &size) ||
        size > rest.size() - end - 1) {
      return absl::InvalidArgumentError("the documents are cut");
    }
    documents.push_back(rest.substr(end + 1, size));
    rest.remove_prefix(end + 1 + size);
  }

  int64_t num_bytes = 0, num_ids = 0;
  uint64_t sum = 0;
  std::vector<int32_t> ids;
  const auto start = std::chrono::steady_clock::now();
  for (const std::string_view document : documents) {
    ids.clear();
    HETERO_RETURN_IF_ERROR(tokenizer->Append(document, ids));
    num_bytes += static_cast<int64_t>(document.size());
    num_ids += static_cast<int64_t>(ids.size());
    for (const int32_t id : ids) sum = sum * 31 + static_cast<uint64_t>(id);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << "megabytes_per_second " << static_cast<double>(num_bytes) / 1e6 / seconds.count()
            << "\nids " << num_ids << "\nsum " << sum << "\n";
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: encode_benchmark TOKENIZER DOCUMENTS\n";
    return EXIT_FAILURE;
  }
  const absl::Status status = Run(argv[1], argv[2]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
