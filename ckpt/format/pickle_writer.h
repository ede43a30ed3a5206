#ifndef HETERO_CKPT_FORMAT_PICKLE_WRITER_H_
#define HETERO_CKPT_FORMAT_PICKLE_WRITER_H_

// Writes pickles of protocol 2, opcode by opcode, as a stack machine reads them
// (https://github.com/python/cpython/blob/3.12/Lib/pickletools.py).

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace hetero {

class PickleWriter {
 public:
  // With `memo`, texts and names that come again are written as references.
  explicit PickleWriter(bool memo);

  // Each pushes one value.
  PickleWriter& None() { return Put('N'); }
  PickleWriter& Bool(bool value) { return Put(value ? '\x88' : '\x89'); }
  PickleWriter& Int(int64_t value);
  PickleWriter& Uint(uint64_t value);
  PickleWriter& Float(double value);
  PickleWriter& Text(std::string_view text);
  PickleWriter& Global(std::string_view module, std::string_view name);
  PickleWriter& EmptyTuple() { return Put(')'); }
  PickleWriter& EmptyList() { return Put(']'); }
  PickleWriter& EmptyDict() { return Put('}'); }

  PickleWriter& Mark() { return Put('('); }
  // What is above the mark becomes a tuple, or goes into the list or, by pairs, dict below it.
  PickleWriter& Tuple() { return Put('t'); }
  PickleWriter& Append() { return Put('e'); }
  PickleWriter& SetItems() { return Put('u'); }

  PickleWriter& Reduce() { return Put('R'); }        // callable, arguments -> result
  PickleWriter& NewObject() { return Put('\x81'); }  // class, arguments -> object
  PickleWriter& Build() { return Put('b'); }         // object, state -> object
  PickleWriter& PersistentId() { return Put('Q'); }  // id -> object

  // A tuple of integers.
  template <typename Range>
  PickleWriter& Ints(const Range& values) {
    if (values.empty()) return EmptyTuple();
    Mark();
    for (const int64_t value : values) Int(value);
    return Tuple();
  }

  // null, bool, integers, floats, text, lists and dicts.
  PickleWriter& Value(const nlohmann::json& value);

  // The pickle. Precondition: one value has been pushed.
  std::string Finish() &&;

 private:
  PickleWriter& Put(char opcode) {
    bytes_ += opcode;
    return *this;
  }
  PickleWriter& Little(uint64_t value, int num_bytes);
  // Whether a reference to what was pushed under that name has been written.
  bool WriteReference(const std::string& name);
  void Remember(std::string name);

  const bool memo_;
  std::string bytes_;
  std::map<std::string, uint32_t> remembered_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_PICKLE_WRITER_H_
