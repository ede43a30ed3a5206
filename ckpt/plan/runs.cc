#include "hetero/ckpt/plan/runs.h"

#include <algorithm>
#include <cstddef>

#include "hetero/ckpt/plan/box.h"

namespace hetero {
namespace {

constexpr int64_t kSmallRunBytes = 64 << 10;

// A dim of the region of more than one element.
struct Dim {
  int64_t size = 0;
  int64_t dense_stride = 0;
  int64_t local_stride = 0;
};

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

std::vector<RunRows> RunsOf(const Box& region, const Box& dense, const Box& piece,
                            const ConstTensorView& local) {
  const size_t rank = region.size.size();
  std::vector<int64_t> dense_strides(rank, 1);
  for (size_t d = rank; d-- > 1;) dense_strides[d - 1] = dense_strides[d] * dense.size[d];
  RunRows first{.run = 1};
  std::vector<Dim> dims;
  int local_dim = 0;
  for (size_t d = 0; d < rank; ++d) {
    first.dense += (region.offset[d] - dense.offset[d]) * dense_strides[d];
    if (piece.size[d] == 1) continue;
    while (local.dim(local_dim) == 1) ++local_dim;
    const int64_t local_stride = local.stride(local_dim++);
    first.local += (region.offset[d] - piece.offset[d]) * local_stride;
    if (region.size[d] != 1) {
      dims.push_back({region.size[d], dense_strides[d], local_stride});
    }
  }
  while (!dims.empty() && dims.back().dense_stride == first.run &&
         dims.back().local_stride == first.run) {
    first.run *= dims.back().size;
    dims.pop_back();
  }
  if (!dims.empty()) {
    first.rows = dims.back().size;
    first.dense_stride = dims.back().dense_stride;
    first.local_stride = dims.back().local_stride;
    dims.pop_back();
  }
  while (!dims.empty() && dims.back().dense_stride == first.rows * first.dense_stride &&
         dims.back().local_stride == first.rows * first.local_stride) {
    first.rows *= dims.back().size;
    dims.pop_back();
  }
  std::vector<RunRows> result = {first};
  // Outer dims vary slowest, so each one repeats what the dims behind it give.
  for (size_t d = dims.size(); d-- > 0;) {
    const size_t count = result.size();
    for (int64_t i = 1; i < dims[d].size; ++i) {
      for (size_t k = 0; k < count; ++k) {
        RunRows rows = result[k];
        rows.dense += i * dims[d].dense_stride;
        rows.local += i * dims[d].local_stride;
        result.push_back(rows);
      }
    }
  }
  return result;
}

void AppendInside(const RunRows& rows, IndexRange range, std::vector<RunRows>& result) {
  const auto append = [&](int64_t row, int64_t count, int64_t begin, int64_t end) {
    result.push_back({.dense = rows.dense + row * rows.dense_stride + begin,
                      .dense_stride = rows.dense_stride,
                      .local = rows.local + row * rows.local_stride + begin,
                      .local_stride = rows.local_stride,
                      .rows = count,
                      .run = end - begin});
  };
  // Rows [first, last) have elements in the range.
  const int64_t before = range.first - rows.dense - rows.run;
  const int64_t up_to = range.end() - rows.dense;
  if (up_to <= 0 || rows.run == 0) return;
  int64_t first = 0, last = 1;
  if (rows.rows > 1) {
    first = before < 0 ? 0 : before / rows.dense_stride + 1;
    last = std::min(rows.rows, CeilDivide(up_to, rows.dense_stride));
  } else if (before >= 0) {
    return;
  }
  if (first >= last) return;
  const auto begin_of = [&](int64_t row) {
    return std::max<int64_t>(0, range.first - rows.dense - row * rows.dense_stride);
  };
  const auto end_of = [&](int64_t row) {
    return std::min(rows.run, range.end() - rows.dense - row * rows.dense_stride);
  };
  if (last - first == 1) return append(first, 1, begin_of(first), end_of(first));
  if (begin_of(first) > 0) {
    append(first, 1, begin_of(first), rows.run);
    ++first;
  }
  const int64_t end_of_last = end_of(last - 1);
  const int64_t whole_end = end_of_last < rows.run ? last - 1 : last;
  if (first < whole_end) append(first, whole_end - first, 0, rows.run);
  if (whole_end < last) append(last - 1, 1, 0, end_of_last);
}

std::vector<IndexRange> RangesToRead(const Box& region, const Box& dense, int64_t element_bytes) {
  // As seen from the box alone: memory that is as dense does not cut runs.
  const size_t rank = region.size.size();
  std::vector<int64_t> strides(rank, 1);
  for (size_t d = rank; d-- > 1;) strides[d - 1] = strides[d] * dense.size[d];
  int64_t begin = 0, run = 1;
  for (size_t d = 0; d < rank; ++d) begin += (region.offset[d] - dense.offset[d]) * strides[d];
  size_t outer = rank;
  while (outer > 0 && (region.size[outer - 1] == 1 || strides[outer - 1] == run)) {
    run *= region.size[--outer];
  }
  std::vector<IndexRange> ranges = {{begin, run}};
  for (size_t d = outer; d-- > 0;) {
    const size_t count = ranges.size();
    for (int64_t i = 1; i < region.size[d]; ++i) {
      for (size_t k = 0; k < count; ++k) {
        ranges.push_back({ranges[k].first + i * strides[d], ranges[k].count});
      }
    }
  }
  const int64_t span = ranges.back().end() - begin;
  // With what lies behind the last run up to where another would begin.
  int64_t periods = run;
  for (size_t d = 0; d < outer && periods == run; ++d) {
    if (region.size[d] > 1) periods = region.size[d] * strides[d];
  }
  if (2 * NumElements(region) > periods || run * element_bytes < kSmallRunBytes) {
    return {{begin, span}};
  }
  return ranges;
}

}  // namespace hetero
