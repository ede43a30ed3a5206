#ifndef HETERO_CKPT_STORED_MATCH_H_
#define HETERO_CKPT_STORED_MATCH_H_

// Which stored tensors are a wanted one, by their names.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/params/box_map.h"
#include "hetero/tensor/view.h"

namespace hetero {

// The canonical key with "param" for "fp32_param": words of the writer's version are no part of a
// name.
std::string MatchingKey(std::string_view key);

// The stored tensors that are a wanted one: it, or one of which it is row `row`, or one for each of
// its rows.
struct StoredMatch {
  std::vector<const IndexedTensor*> tensors;
  std::vector<std::string_view> keys;  // parallel
  std::optional<int64_t> row;
  bool per_row = false;
};

class StoredFinder {
 public:
  // `index` outlives it and what it finds.
  explicit StoredFinder(const CheckpointIndex& index);

  // An empty match where there is none.
  StoredMatch Find(std::string_view key, const std::vector<int64_t>& shape) const;

 private:
  bool Add(std::string_view key, StoredMatch& match) const;
  bool AddCanonical(std::string_view canonical, StoredMatch& match) const;
  bool AddRow(std::string_view canonical, const std::vector<int64_t>& shape,
              StoredMatch& match) const;
  bool AddRows(std::string_view canonical, const std::vector<int64_t>& shape,
               StoredMatch& match) const;

  const CheckpointIndex& index_;
  std::map<std::string, std::string_view, std::less<>> by_canonical_;
};

// A box of a stored tensor, and where it goes.
struct ReadTarget {
  const IndexedTensor* stored = nullptr;
  std::string_view key;  // of the stored tensor
  Box box;
  TensorView local;
};

// What to read for a box of the wanted tensor.
std::vector<ReadTarget> TargetsOf(const StoredMatch& match, const Box& box,
                                  const TensorView& local);

}  // namespace hetero

#endif  // HETERO_CKPT_STORED_MATCH_H_
