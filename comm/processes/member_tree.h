#ifndef HETERO_COMM_PROCESSES_MEMBER_TREE_H_
#define HETERO_COMM_PROCESSES_MEMBER_TREE_H_

// The members of a communicator as a tree, in which each has eight neighbours at most, whatever
// their number: member 0 is the root, and the children of member g are 7 g + 1 to 7 g + 7.

#include <algorithm>
#include <cstddef>
#include <vector>

namespace hetero::internal {

inline constexpr size_t kTreeChildren = 7;

// Precondition: not the root.
inline size_t TreeParent(size_t member) { return (member - 1) / kTreeChildren; }

inline std::vector<size_t> ChildrenInTree(size_t member, size_t size) {
  std::vector<size_t> children;
  const size_t first = member * kTreeChildren + 1;
  for (size_t child = first; child < std::min(size, first + kTreeChildren); ++child) {
    children.push_back(child);
  }
  return children;
}

// A member and all below it: itself, then each child and all below that.
inline std::vector<size_t> TreeOrder(size_t member, size_t size) {
  std::vector<size_t> order = {member};
  for (const size_t child : ChildrenInTree(member, size)) {
    const std::vector<size_t> below = TreeOrder(child, size);
    order.insert(order.end(), below.begin(), below.end());
  }
  return order;
}

}  // namespace hetero::internal

#endif  // HETERO_COMM_PROCESSES_MEMBER_TREE_H_
