#include "hetero/ckpt/format/pickle_writer.h"

#include <bit>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hetero {

PickleWriter::PickleWriter(bool memo) : memo_(memo), bytes_("\x80\x02") {}

PickleWriter& PickleWriter::Little(uint64_t value, int num_bytes) {
  for (int i = 0; i < num_bytes; ++i) bytes_ += static_cast<char>(value >> (8 * i));
  return *this;
}

PickleWriter& PickleWriter::Int(int64_t value) {
  const uint64_t bits = static_cast<uint64_t>(value);
  if (value >= 0 && value < 256) return Put('K').Little(bits, 1);
  if (value >= 0 && value < 65536) return Put('M').Little(bits, 2);
  if (value == static_cast<int32_t>(value)) return Put('J').Little(bits, 4);
  return Put('\x8a').Put('\x08').Little(bits, 8);
}

PickleWriter& PickleWriter::Uint(uint64_t value) {
  if (value <= uint64_t{std::numeric_limits<int64_t>::max()}) {
    return Int(static_cast<int64_t>(value));
  }
  // A ninth byte, or it would be negative.
  return Put('\x8a').Put('\x09').Little(value, 8).Put('\0');
}

PickleWriter& PickleWriter::Float(double value) {
  Put('G');
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) bytes_ += static_cast<char>(bits >> shift);
  return *this;
}

PickleWriter& PickleWriter::Text(std::string_view text) {
  const std::string name = absl::StrCat("text ", text);
  if (WriteReference(name)) return *this;
  Put('X').Little(text.size(), 4);
  bytes_ += text;
  Remember(name);
  return *this;
}

PickleWriter& PickleWriter::Global(std::string_view module, std::string_view name) {
  const std::string both = absl::StrCat("global ", module, "\n", name);
  if (WriteReference(both)) return *this;
  Put('c');
  absl::StrAppend(&bytes_, module, "\n", name, "\n");
  Remember(both);
  return *this;
}

bool PickleWriter::WriteReference(const std::string& name) {
  const auto found = remembered_.find(name);
  if (found == remembered_.end()) return false;
  if (found->second < 256) {
    Put('h').Little(found->second, 1);
  } else {
    Put('j').Little(found->second, 4);
  }
  return true;
}

void PickleWriter::Remember(std::string name) {
  if (!memo_) return;
  const uint32_t index = static_cast<uint32_t>(remembered_.size());
  if (index < 256) {
    Put('q').Little(index, 1);
  } else {
    Put('r').Little(index, 4);
  }
  remembered_.emplace(std::move(name), index);
}

PickleWriter& PickleWriter::Value(const nlohmann::json& value) {
  using Type = nlohmann::json::value_t;
  switch (value.type()) {
    case Type::boolean:
      return Bool(value.get<bool>());
    case Type::number_integer:
      return Int(value.get<int64_t>());
    case Type::number_unsigned:
      return Uint(value.get<uint64_t>());
    case Type::number_float:
      return Float(value.get<double>());
    case Type::string:
      return Text(value.get_ref<const std::string&>());
    case Type::array:
      EmptyList();
      if (value.empty()) return *this;
      Mark();
      for (const nlohmann::json& item : value) Value(item);
      return Append();
    case Type::object:
      EmptyDict();
      if (value.empty()) return *this;
      Mark();
      for (const auto& [name, item] : value.items()) Text(name).Value(item);
      return SetItems();
    default:
      return None();
  }
}

std::string PickleWriter::Finish() && {
  Put('.');
  return std::move(bytes_);
}

}  // namespace hetero
