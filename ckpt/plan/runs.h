#ifndef HETERO_CKPT_PLAN_RUNS_H_
#define HETERO_CKPT_PLAN_RUNS_H_

// Elements that lie one after another both in a dense box, such as a chunk of a file, and in a view
// of memory: what a copy between the two is made of.

#include <cstdint>
#include <span>
#include <vector>

#include "hetero/base/index_range.h"
#include "hetero/params/box_map.h"
#include "hetero/tensor/view.h"

namespace hetero {

// `rows` runs of `run` elements each. Numbers count elements from the first one of the dense box
// and of the view.
struct RunRows {
  int64_t dense = 0;         // of the first run
  int64_t dense_stride = 0;  // from run to run
  int64_t local = 0;
  int64_t local_stride = 0;
  int64_t rows = 1;
  int64_t run = 0;

  bool operator==(const RunRows&) const = default;
};

// The elements of `region`, in ascending order in `dense`, whose elements are row-major. `local`
// has the elements of `piece`; dims of size 1 may be left out or added.
// Precondition: region is inside of both.
std::vector<RunRows> RunsOf(const Box& region, const Box& dense, const Box& piece,
                            const ConstTensorView& local);

// Of `rows` what is in `range` of the dense box, appended to `result`: three at most.
void AppendInside(const RunRows& rows, IndexRange range, std::vector<RunRows>& result);

// What to read of a dense box of elements of `element_bytes` bytes to have `region`, ascending, in
// elements: all from the first to the last element when more than half of every period of runs is
// wanted or runs are below 64 KiB, else each run.
std::vector<IndexRange> RangesToRead(const Box& region, const Box& dense, int64_t element_bytes);

}  // namespace hetero

#endif  // HETERO_CKPT_PLAN_RUNS_H_
