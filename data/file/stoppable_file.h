#ifndef HETERO_DATA_FILE_STOPPABLE_FILE_H_
#define HETERO_DATA_FILE_STOPPABLE_FILE_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/long_work.h"

namespace hetero::data {

// A file whose reads end, CANCELLED, when the user wants an end of `what`. Owns nothing.
class StoppableFile : public RandomAccessFile {
 public:
  StoppableFile(const RandomAccessFile& file, const LongWork& work, std::string_view what)
      : file_(file), work_(work), what_(what) {}

  uint64_t size() const override { return file_.size(); }
  absl::Status Read(uint64_t offset, std::span<char> out) const override {
    HETERO_RETURN_IF_ERROR(work_.Continue(what_));
    return file_.Read(offset, out);
  }

 private:
  const RandomAccessFile& file_;
  const LongWork& work_;
  std::string_view what_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_STOPPABLE_FILE_H_
