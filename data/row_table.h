#ifndef HETERO_DATA_ROW_TABLE_H_
#define HETERO_DATA_ROW_TABLE_H_

// Which samples of a data set share a row of the language model.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hetero::data {

struct RowSample {
  int64_t index = 0;              // in the data set
  std::optional<int64_t> length;  // tokens, where others stand behind it
};

class RowTable {
 public:
  void Add(std::span<const RowSample> row) {
    samples_.insert(samples_.end(), row.begin(), row.end());
    borders_.push_back(samples_.size());
  }

  int64_t num_rows() const { return static_cast<int64_t>(borders_.size()) - 1; }

  // Precondition: 0 <= row < num_rows().
  std::span<const RowSample> operator[](int64_t row) const {
    const auto at = static_cast<size_t>(row);
    return std::span(samples_).subspan(borders_[at], borders_[at + 1] - borders_[at]);
  }

 private:
  std::vector<RowSample> samples_;
  std::vector<size_t> borders_ = {0};
};

// The samples of one row, or one that is alone in it. Owns nothing of the table.
class RowSamples {
 public:
  RowSamples() = default;
  explicit RowSamples(int64_t index) : alone_{.index = index}, size_(1) {}
  explicit RowSamples(std::span<const RowSample> packed) : packed_(packed), size_(packed.size()) {}

  size_t size() const { return size_; }
  const RowSample& operator[](size_t i) const { return packed_.empty() ? alone_ : packed_[i]; }

 private:
  RowSample alone_;
  std::span<const RowSample> packed_;
  size_t size_ = 0;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ROW_TABLE_H_
