#include "hetero/ckpt/format/pickle.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/byte_order.h"

namespace hetero {
namespace {

using internal::PickleNode;

constexpr int kMaxDepth = 256;
constexpr int64_t kMaxOperations = int64_t{64} << 20;
constexpr uint64_t kMaxTextBytes = uint64_t{64} << 20;
constexpr uint32_t kAbsent = 0xffffffff;

// Values that need no node of their own each time.
constexpr uint32_t kNone = 0;
constexpr uint32_t kFalse = 1;
constexpr uint32_t kTrue = 2;
constexpr uint32_t kEmptyTuple = 3;

// Whether every byte belongs to a code point of the shortest form (Unicode 15, table 3-7).
bool IsUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const uint8_t first = byte(i);
    const size_t more = first < 0x80   ? 0
                        : first < 0xc2 ? 9
                        : first < 0xe0 ? 1
                        : first < 0xf0 ? 2
                        : first < 0xf5 ? 3
                                       : 9;
    if (more > 3 || i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    }
    if (more > 0) {
      const uint8_t second = byte(i + 1);
      if (first == 0xe0 && second < 0xa0) return false;
      if (first == 0xed && second > 0x9f) return false;
      if (first == 0xf0 && second < 0x90) return false;
      if (first == 0xf4 && second > 0x8f) return false;
    }
    i += more + 1;
  }
  return true;
}

}  // namespace

// The stack machine. Everything it makes is a node of the pickle.
class PickleMachine {
 public:
  explicit PickleMachine(Pickle& pickle) : pickle_(pickle), bytes_(pickle.bytes_) {
    pickle_.nodes_ = {{.kind = PickleKind::kNone},
                      {.kind = PickleKind::kBool},
                      {.kind = PickleKind::kBool, .value = 1},
                      {.kind = PickleKind::kTuple}};
    pickle_.children_.emplace_back();
  }

  absl::Status Run() {
    for (int64_t count = 0; count < kMaxOperations; ++count) {
      opcode_at_ = at_;
      if (at_ >= bytes_.size()) return Error("no opcode . at the end");
      const uint8_t opcode = static_cast<uint8_t>(bytes_[at_++]);
      if (opcode == '.') return Stop();
      HETERO_RETURN_IF_ERROR(Execute(opcode));
    }
    return Error("more than 2^26 opcodes");
  }

 private:
  absl::Status Error(std::string_view what) const {
    return absl::DataLossError(absl::StrCat("pickle, byte ", opcode_at_, ": ", what));
  }

  absl::Status Stop() {
    if (stack_.size() != 1 || !marks_.empty()) {
      return Error(absl::StrCat("the end with ", stack_.size(), " values"));
    }
    if (at_ != bytes_.size()) return Error(absl::StrCat(bytes_.size() - at_, " bytes behind it"));
    pickle_.root_ = stack_[0];
    heights_.assign(pickle_.nodes_.size(), kUnknown);
    HETERO_RETURN_IF_ERROR(Measure(pickle_.root_, 0).status());
    return absl::OkStatus();
  }

  // Levels of values in `node`, which lies `depth` deep. Error: values within themselves.
  absl::StatusOr<int> Measure(uint32_t node, int depth) {
    if (heights_[node] == kOpen) return Error("a value contains itself");
    if (heights_[node] == kUnknown) {
      if (depth > kMaxDepth) return Deep();
      heights_[node] = kOpen;
      int height = 0;
      if (HasChildren(pickle_.nodes_[node].kind)) {
        for (const uint32_t child : pickle_.children_[pickle_.nodes_[node].index]) {
          if (child == kAbsent) continue;
          HETERO_ASSIGN_OR_RETURN(const int below, Measure(child, depth + 1));
          height = std::max(height, below + 1);
        }
      }
      heights_[node] = static_cast<int16_t>(height);
    }
    if (depth + heights_[node] > kMaxDepth) return Deep();
    return heights_[node];
  }

  absl::Status Deep() const { return Error(absl::StrCat("values deeper than ", kMaxDepth)); }

  static bool HasChildren(PickleKind kind) {
    return kind == PickleKind::kTuple || kind == PickleKind::kList || kind == PickleKind::kSet ||
           kind == PickleKind::kDict || kind == PickleKind::kObject ||
           kind == PickleKind::kPersistent;
  }

  // The input.

  absl::StatusOr<uint64_t> Number(int num_bytes) {
    if (bytes_.size() - at_ < static_cast<size_t>(num_bytes)) return Error("the pickle ends in it");
    const uint64_t value = ReadLittle(bytes_, at_, num_bytes);
    at_ += num_bytes;
    return value;
  }

  absl::StatusOr<std::string_view> Bytes(int length_bytes) {
    HETERO_ASSIGN_OR_RETURN(const uint64_t length, Number(length_bytes));
    if (length > kMaxTextBytes) return Error(absl::StrCat("text of ", length, " bytes"));
    if (length > bytes_.size() - at_) {
      return Error(absl::StrCat("text of ", length, " bytes, ", bytes_.size() - at_, " are left"));
    }
    const std::string_view text = bytes_.substr(at_, length);
    at_ += length;
    return text;
  }

  absl::StatusOr<std::string_view> Line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) return Error("the pickle ends in a name");
    const std::string_view line = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }

  // Values.

  uint32_t Add(PickleNode node) {
    pickle_.nodes_.push_back(node);
    return static_cast<uint32_t>(pickle_.nodes_.size() - 1);
  }

  void Push(uint32_t node) { stack_.push_back(node); }

  absl::Status PushInt(int64_t value) {
    Push(Add({.kind = PickleKind::kInt, .value = static_cast<uint64_t>(value)}));
    return absl::OkStatus();
  }

  absl::Status PushText(int length_bytes, PickleKind kind) {
    HETERO_ASSIGN_OR_RETURN(const std::string_view text, Bytes(length_bytes));
    if (kind == PickleKind::kText && !IsUtf8(text)) return Error("text that is not UTF-8");
    Push(Add({.kind = kind,
              .index = static_cast<uint32_t>(text.size()),
              .value = static_cast<uint64_t>(text.data() - bytes_.data())}));
    return absl::OkStatus();
  }

  // Two's complement, little-endian.
  absl::Status PushLong(int length_bytes) {
    HETERO_ASSIGN_OR_RETURN(const std::string_view digits, Bytes(length_bytes));
    if (digits.size() <= 8) {
      uint64_t value = ReadLittle(digits, 0, static_cast<int>(digits.size()));
      const bool is_negative = !digits.empty() && static_cast<int8_t>(digits.back()) < 0;
      if (is_negative && digits.size() < 8) value |= ~uint64_t{0} << (8 * digits.size());
      return PushInt(static_cast<int64_t>(value));
    }
    if (digits.size() > 9 || digits[8] != 0) {
      return Error(absl::StrCat("an integer of ", digits.size(), " bytes; at most 64 bits"));
    }
    Push(Add({.kind = PickleKind::kUint, .value = ReadLittle(digits, 0, 8)}));
    return absl::OkStatus();
  }

  absl::Status PushGlobal(std::string_view module, std::string_view name) {
    std::string full = absl::StrCat(module, ".", name);
    const auto [known, is_first] =
        names_.emplace(full, static_cast<uint32_t>(pickle_.names_.size()));
    if (is_first) pickle_.names_.push_back(std::move(full));
    Push(Add({.kind = PickleKind::kGlobal, .index = known->second}));
    return absl::OkStatus();
  }

  absl::Status PushParent(PickleKind kind, std::vector<uint32_t> children) {
    const uint32_t node =
        Add({.kind = kind, .index = static_cast<uint32_t>(pickle_.children_.size())});
    pickle_.children_.emplace_back();
    HETERO_RETURN_IF_ERROR(Adopt(node, children));
    Push(node);
    return absl::OkStatus();
  }

  // Adds children; more than they can be deep, in time for no memory to be lost to depth.
  absl::Status Adopt(uint32_t node, const std::vector<uint32_t>& children) {
    int depth = pickle_.nodes_[node].depth;
    for (const uint32_t child : children) {
      if (child != kAbsent) depth = std::max(depth, pickle_.nodes_[child].depth + 1);
    }
    if (depth > kMaxDepth) return Deep();
    pickle_.nodes_[node].depth = static_cast<uint16_t>(depth);
    std::vector<uint32_t>& own = pickle_.children_[pickle_.nodes_[node].index];
    own.insert(own.end(), children.begin(), children.end());
    return absl::OkStatus();
  }

  // The stack. What lies below the last mark cannot be reached.

  absl::Status Need(size_t count) const {
    const size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() - floor >= count) return absl::OkStatus();
    return Error(
        absl::StrCat("it takes ", count, " values, the stack has ", stack_.size() - floor));
  }

  absl::StatusOr<std::vector<uint32_t>> Pop(size_t count) {
    HETERO_RETURN_IF_ERROR(Need(count));
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<uint32_t> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    return values;
  }

  absl::StatusOr<std::vector<uint32_t>> PopMark() {
    if (marks_.empty()) return Error("no mark");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<uint32_t> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return values;
  }

  absl::Status PushTuple(size_t count) {
    HETERO_ASSIGN_OR_RETURN(std::vector<uint32_t> items, Pop(count));
    return PushParent(PickleKind::kTuple, std::move(items));
  }

  absl::Status PushFromMark(PickleKind kind) {
    HETERO_ASSIGN_OR_RETURN(std::vector<uint32_t> items, PopMark());
    if (kind == PickleKind::kDict && items.size() % 2 != 0) return Error("a key without value");
    return PushParent(kind, std::move(items));
  }

  // Adds items to the list, set or dict on the stack, or to those of an object.
  absl::Status AddItems(PickleKind kind, const std::vector<uint32_t>& items) {
    if (kind == PickleKind::kDict && items.size() % 2 != 0) return Error("a key without value");
    HETERO_RETURN_IF_ERROR(Need(1));
    uint32_t target = stack_.back();
    if (pickle_.nodes_[target].kind == PickleKind::kObject && kind != PickleKind::kSet) {
      const uint32_t object = target;
      const uint32_t children = pickle_.nodes_[object].index;
      target = pickle_.children_[children][3];
      if (target == kAbsent) {
        HETERO_RETURN_IF_ERROR(PushParent(kind, {}));
        target = stack_.back();
        stack_.pop_back();
        pickle_.children_[children][3] = target;
      }
    }
    if (pickle_.nodes_[target].kind != kind) return Error("items for what takes none of that kind");
    return Adopt(target, items);
  }

  absl::Status PushCall(uint32_t callable, uint32_t arguments) {
    return PushParent(PickleKind::kObject, {callable, arguments, kAbsent, kAbsent});
  }

  absl::Status Build() {
    HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> state, Pop(1));
    HETERO_RETURN_IF_ERROR(Need(1));
    const uint32_t object = stack_.back();
    if (pickle_.nodes_[object].kind != PickleKind::kObject) return Error("state for no object");
    std::vector<uint32_t>& children = pickle_.children_[pickle_.nodes_[object].index];
    if (children[2] != kAbsent) return Error("state for an object that has one");
    if (pickle_.nodes_[state[0]].depth + 1 > kMaxDepth) return Deep();
    children[2] = state[0];
    pickle_.nodes_[object].depth =
        std::max<uint16_t>(pickle_.nodes_[object].depth, pickle_.nodes_[state[0]].depth + 1);
    return absl::OkStatus();
  }

  absl::Status Remember(uint64_t index) {
    HETERO_RETURN_IF_ERROR(Need(1));
    memo_[index] = stack_.back();
    return absl::OkStatus();
  }

  absl::Status Recall(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) return Error(absl::StrCat("nothing is remembered as ", index));
    Push(found->second);
    return absl::OkStatus();
  }

  absl::Status StackGlobal() {
    HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> parts, Pop(2));
    for (const uint32_t part : parts) {
      if (pickle_.nodes_[part].kind != PickleKind::kText) return Error("a name that is no text");
    }
    return PushGlobal(TextOf(parts[0]), TextOf(parts[1]));
  }

  std::string_view TextOf(uint32_t node) const {
    return bytes_.substr(pickle_.nodes_[node].value, pickle_.nodes_[node].index);
  }

  absl::Status Frame() {
    HETERO_ASSIGN_OR_RETURN(const uint64_t length, Number(8));
    if (length <= bytes_.size() - at_) return absl::OkStatus();
    return Error(absl::StrCat("a frame of ", length, " bytes, ", bytes_.size() - at_, " are left"));
  }

  absl::Status Protocol() {
    HETERO_ASSIGN_OR_RETURN(const uint64_t version, Number(1));
    return version <= 5 ? absl::OkStatus() : Error(absl::StrCat("protocol ", version));
  }

  absl::Status Execute(uint8_t opcode) {
    switch (opcode) {
      case 0x80:
        return Protocol();
      case 0x95:
        return Frame();
      case '(':
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case '0':  // of a mark when nothing is above it
        if (!marks_.empty() && stack_.size() == marks_.back()) return PopMark().status();
        return Pop(1).status();
      case '1':
        return PopMark().status();
      case '2':
        HETERO_RETURN_IF_ERROR(Need(1));
        Push(stack_.back());
        return absl::OkStatus();

      case 'N':
        Push(kNone);
        return absl::OkStatus();
      case 0x88:
        Push(kTrue);
        return absl::OkStatus();
      case 0x89:
        Push(kFalse);
        return absl::OkStatus();
      case 'K': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t value, Number(1));
        return PushInt(static_cast<int64_t>(value));
      }
      case 'M': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t value, Number(2));
        return PushInt(static_cast<int64_t>(value));
      }
      case 'J': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t value, Number(4));
        return PushInt(static_cast<int32_t>(value));
      }
      case 0x8a:
        return PushLong(1);
      case 0x8b:
        return PushLong(4);
      case 'G': {
        HETERO_ASSIGN_OR_RETURN(uint64_t bits, Number(8));
        bits = __builtin_bswap64(bits);
        Push(Add({.kind = PickleKind::kFloat, .value = bits}));
        return absl::OkStatus();
      }

      case 'X':
        return PushText(4, PickleKind::kText);
      case 0x8c:
        return PushText(1, PickleKind::kText);
      case 0x8d:
        return PushText(8, PickleKind::kText);
      case 'B':
      case 'T':
        return PushText(4, PickleKind::kBytes);
      case 'C':
      case 'U':
        return PushText(1, PickleKind::kBytes);
      case 0x8e:
      case 0x96:
        return PushText(8, PickleKind::kBytes);

      case ')':
        Push(kEmptyTuple);
        return absl::OkStatus();
      case 0x85:
        return PushTuple(1);
      case 0x86:
        return PushTuple(2);
      case 0x87:
        return PushTuple(3);
      case 't':
        return PushFromMark(PickleKind::kTuple);
      case ']':
        return PushParent(PickleKind::kList, {});
      case 'l':
        return PushFromMark(PickleKind::kList);
      case '}':
        return PushParent(PickleKind::kDict, {});
      case 'd':
        return PushFromMark(PickleKind::kDict);
      case 0x8f:
        return PushParent(PickleKind::kSet, {});
      case 0x91:
        return PushFromMark(PickleKind::kSet);
      case 'a': {
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> item, Pop(1));
        return AddItems(PickleKind::kList, item);
      }
      case 'e': {
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> items, PopMark());
        return AddItems(PickleKind::kList, items);
      }
      case 's': {
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> items, Pop(2));
        return AddItems(PickleKind::kDict, items);
      }
      case 'u': {
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> items, PopMark());
        return AddItems(PickleKind::kDict, items);
      }
      case 0x90: {
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> items, PopMark());
        return AddItems(PickleKind::kSet, items);
      }

      case 'q': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t index, Number(1));
        return Remember(index);
      }
      case 'r': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t index, Number(4));
        return Remember(index);
      }
      case 0x94:
        return Remember(memo_.size());
      case 'h': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t index, Number(1));
        return Recall(index);
      }
      case 'j': {
        HETERO_ASSIGN_OR_RETURN(const uint64_t index, Number(4));
        return Recall(index);
      }

      case 'c': {
        HETERO_ASSIGN_OR_RETURN(const std::string_view module, Line());
        HETERO_ASSIGN_OR_RETURN(const std::string_view name, Line());
        if (!IsUtf8(module) || !IsUtf8(name)) return Error("a name that is not UTF-8");
        return PushGlobal(module, name);
      }
      case 0x93:
        return StackGlobal();
      case 'R':
      case 0x81: {
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> call, Pop(2));
        return PushCall(call[0], call[1]);
      }
      case 0x92: {  // with keyword arguments: both kinds as one tuple
        HETERO_RETURN_IF_ERROR(Need(3));
        HETERO_RETURN_IF_ERROR(PushTuple(2));
        HETERO_ASSIGN_OR_RETURN(const std::vector<uint32_t> call, Pop(2));
        return PushCall(call[0], call[1]);
      }
      case 'b':
        return Build();
      case 'Q': {
        HETERO_ASSIGN_OR_RETURN(std::vector<uint32_t> id, Pop(1));
        return PushParent(PickleKind::kPersistent, std::move(id));
      }
      default:
        return Error(absl::StrCat("opcode ", absl::Hex(opcode, absl::kZeroPad2),
                                  " is not one of those that are read"));
    }
  }

  static constexpr int16_t kUnknown = -1;
  static constexpr int16_t kOpen = -2;

  Pickle& pickle_;
  const std::string_view bytes_;
  size_t at_ = 0;
  size_t opcode_at_ = 0;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, uint32_t> memo_;
  std::unordered_map<std::string, uint32_t> names_;
  std::vector<int16_t> heights_;
};

absl::StatusOr<std::unique_ptr<Pickle>> Pickle::Parse(std::string bytes) {
  std::unique_ptr<Pickle> pickle(new Pickle);
  pickle->bytes_ = std::move(bytes);
  PickleMachine machine(*pickle);
  HETERO_RETURN_IF_ERROR(machine.Run());
  return pickle;
}

const PickleNode& PickleValue::node() const { return pickle_->nodes_[node_]; }

const std::vector<uint32_t>& PickleValue::children() const {
  return pickle_->children_[node().index];
}

bool PickleValue::HasChild(size_t i) const { return children()[i] != kAbsent; }

PickleValue PickleValue::Child(size_t i) const { return PickleValue(pickle_, children()[i]); }

double PickleValue::real() const { return std::bit_cast<double>(node().value); }

std::string_view PickleValue::text() const {
  if (is(PickleKind::kGlobal)) return pickle_->names_[node().index];
  return std::string_view(pickle_->bytes_).substr(node().value, node().index);
}

size_t PickleValue::size() const { return children().size(); }

PickleValue PickleValue::operator[](size_t i) const { return Child(i); }

bool PickleValue::IsObjectOf(std::string_view name) const {
  return is(PickleKind::kObject) && callable().is(PickleKind::kGlobal) && callable().text() == name;
}

bool PickleValue::Has(std::string_view key) const {
  if (!is(PickleKind::kDict)) return false;
  for (size_t i = 0; i + 1 < size(); i += 2) {
    if (Child(i).is(PickleKind::kText) && Child(i).text() == key) return true;
  }
  return false;
}

// The last of several, as in Python.
PickleValue PickleValue::operator[](std::string_view key) const {
  if (is(PickleKind::kDict)) {
    for (size_t i = size(); i >= 2; i -= 2) {
      if (Child(i - 2).is(PickleKind::kText) && Child(i - 2).text() == key) return Child(i - 1);
    }
  }
  return PickleValue(pickle_, kNone);
}

}  // namespace hetero
