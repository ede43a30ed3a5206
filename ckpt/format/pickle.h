#ifndef HETERO_CKPT_FORMAT_PICKLE_H_
#define HETERO_CKPT_FORMAT_PICKLE_H_

// Reads pickles as data. Python's machine imports and calls what a pickle names; this one writes
// down the names: a call is a value with a callable and arguments. Nothing is ever executed.
// Opcodes: https://github.com/python/cpython/blob/3.12/Lib/pickletools.py, protocols 2 to 5.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero {

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,   // of 64 bits, signed
  kUint,  // 2^63 and above
  kFloat,
  kText,  // UTF-8
  kBytes,
  kTuple,
  kList,
  kSet,
  kDict,
  kGlobal,      // a name: what Python would import
  kObject,      // a call of a callable with arguments, and what was set on its result
  kPersistent,  // stands for something outside, which an id names
};

namespace internal {
struct PickleNode {
  PickleKind kind = PickleKind::kNone;
  uint16_t depth = 0;  // at least
  uint32_t index = 0;  // into the children or names; bytes of text
  uint64_t value = 0;  // number, or offset of text
};
}  // namespace internal

class Pickle;

// A value of a pickle, which must outlive it. Values may share parts but never contain themselves.
class PickleValue {
 public:
  PickleKind kind() const { return node().kind; }
  bool is(PickleKind kind) const { return node().kind == kind; }

  // Each for the kind of that name. Precondition: it is of that kind.
  bool boolean() const { return node().value != 0; }
  int64_t integer() const { return static_cast<int64_t>(node().value); }
  uint64_t unsigned_integer() const { return node().value; }
  double real() const;
  std::string_view text() const;  // also of kBytes, and of kGlobal "module.name"

  // Items of a tuple, list or set. A dict has twice as many: keys and values by turns.
  size_t size() const;
  PickleValue operator[](size_t i) const;

  // Of an object.
  PickleValue callable() const { return Child(0); }
  PickleValue arguments() const { return Child(1); }
  bool has_state() const { return HasChild(2); }
  PickleValue state() const { return Child(2); }
  bool has_items() const { return HasChild(3); }
  PickleValue items() const { return Child(3); }  // a list or dict

  // Of a persistent id.
  PickleValue id() const { return Child(0); }

  // Whether it is an object whose callable has that name, "torch.Size".
  bool IsObjectOf(std::string_view name) const;

  // The value of a text key of a dict, none when it has no such key or this is no dict.
  bool Has(std::string_view key) const;
  PickleValue operator[](std::string_view key) const;

 private:
  friend class Pickle;
  PickleValue(const Pickle* pickle, uint32_t node) : pickle_(pickle), node_(node) {}
  const internal::PickleNode& node() const;
  const std::vector<uint32_t>& children() const;
  bool HasChild(size_t i) const;
  PickleValue Child(size_t i) const;

  const Pickle* pickle_;
  uint32_t node_;
};

class Pickle {
 public:
  // DATA_LOSS naming the byte for an opcode that is not read, for bytes behind the last one, values
  // more than 256 deep or within themselves, text above 64 MiB, and all else that Python would
  // refuse. Time and memory: O(bytes).
  static absl::StatusOr<std::unique_ptr<Pickle>> Parse(std::string bytes);

  PickleValue value() const { return PickleValue(this, root_); }
  size_t num_values() const { return nodes_.size(); }

 private:
  friend class PickleValue;
  friend class PickleMachine;
  Pickle() = default;

  std::string bytes_;
  std::vector<internal::PickleNode> nodes_;
  std::vector<std::vector<uint32_t>> children_;
  std::vector<std::string> names_;
  uint32_t root_ = 0;
};

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_PICKLE_H_
