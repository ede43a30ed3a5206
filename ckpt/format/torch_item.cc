#include "hetero/ckpt/format/torch_item.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/pickle.h"
#include "hetero/ckpt/format/pickle_writer.h"
#include "hetero/ckpt/format/torch_types.h"
#include "hetero/ckpt/format/zip.h"

namespace hetero {
namespace {

// Below the sizes and offsets from which on archives take their zip64 form, headers included.
constexpr int64_t kMaxPayloadBytes = (int64_t{1} << 32) - 2 * kItemAlignment;

// Of a pickle of one tensor, with room for names and a shape of many dims.
constexpr int64_t kMaxPickleBytes = int64_t{1} << 20;

constexpr std::string_view kByteOrder = "little";
constexpr std::string_view kVersion = "3\n";

std::vector<int64_t> RowMajorStrides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

std::string TensorPickle(const TorchType& type, std::span<const int64_t> shape, int64_t bytes) {
  const bool is_untyped = type.storage.empty();
  PickleWriter pickle(/*memo=*/false);
  pickle.Global("torch._utils", is_untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2").Mark();
  pickle.Mark().Text("storage");
  if (is_untyped) {
    pickle.Global("torch.storage", "UntypedStorage");
  } else {
    pickle.Global("torch", type.storage);
  }
  pickle.Text("0").Text("cpu").Int(is_untyped ? bytes : bytes * 8 / BitsOf(type.type));
  pickle.Tuple().PersistentId();
  pickle.Int(0).Ints(shape).Ints(RowMajorStrides(shape)).Bool(false);
  pickle.Global("collections", "OrderedDict").EmptyTuple().Reduce();
  if (is_untyped) pickle.Global("torch", type.dtype);
  pickle.Tuple().Reduce();
  return std::move(pickle).Finish();
}

absl::Status NoTensor(std::string_view rule) {
  return absl::DataLossError(absl::StrCat("data.pkl is no tensor: ", rule));
}

// Of torch._utils._rebuild_tensor_v2 and _v3: storage, offset, shape, strides, ...
struct TensorCall {
  TorchItem item;
  std::string record;  // "0", of the storage
};

absl::StatusOr<std::vector<int64_t>> ReadInts(PickleValue value, std::string_view name) {
  if (value.IsObjectOf("torch.Size") && value.arguments().is(PickleKind::kTuple) &&
      value.arguments().size() == 1) {
    value = value.arguments()[size_t{0}];
  }
  if (!value.is(PickleKind::kTuple)) return NoTensor(absl::StrCat(name, " is no tuple"));
  std::vector<int64_t> integers;
  for (size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is(PickleKind::kInt)) return NoTensor(absl::StrCat(name, " is no tuple of ints"));
    integers.push_back(value[i].integer());
  }
  return integers;
}

absl::StatusOr<TensorCall> ReadTensorCall(const PickleValue& value) {
  const bool is_typed = value.IsObjectOf("torch._utils._rebuild_tensor_v2");
  const bool is_untyped = value.IsObjectOf("torch._utils._rebuild_tensor_v3");
  if (!is_typed && !is_untyped) return NoTensor("another value");
  const PickleValue arguments = value.arguments();
  if (!arguments.is(PickleKind::kTuple) || arguments.size() < (is_typed ? 6u : 7u)) {
    return NoTensor("too few arguments");
  }
  const PickleValue persistent = arguments[size_t{0}];
  if (!persistent.is(PickleKind::kPersistent) || !persistent.id().is(PickleKind::kTuple) ||
      persistent.id().size() != 5) {
    return NoTensor("no storage of five parts");
  }
  const PickleValue storage = persistent.id();
  const PickleValue type_name = is_typed ? storage[1] : arguments[6];
  const PickleValue key = storage[2];
  const PickleValue count = storage[4];
  if (!type_name.is(PickleKind::kGlobal) || !key.is(PickleKind::kText) ||
      !count.is(PickleKind::kInt)) {
    return NoTensor("a storage without type, name and size");
  }
  std::string_view name = type_name.text();
  absl::ConsumePrefix(&name, "torch.");
  const std::optional<TorchType> type =
      is_typed ? TorchTypeOfStorage(name) : TorchTypeOfDtype(name);
  if (!type) return NoTensor(absl::StrCat("the unknown type ", name));

  TensorCall call;
  call.item.type = type->type;
  call.record = std::string(key.text());
  HETERO_ASSIGN_OR_RETURN(call.item.shape, ReadInts(arguments[2], "the shape"));
  HETERO_ASSIGN_OR_RETURN(const std::vector<int64_t> strides, ReadInts(arguments[3], "strides"));
  const absl::StatusOr<int64_t> bytes = PayloadBytes(type->type, call.item.shape);
  if (!bytes.ok()) return NoTensor(bytes.status().message());
  call.item.payload_bytes = *bytes;

  if (!arguments[1].is(PickleKind::kInt) || arguments[1].integer() != 0) {
    return NoTensor("it begins within its storage");
  }
  const int64_t stored = *bytes * 8 / (is_typed ? BitsOf(type->type) : 8);
  if (count.integer() != stored) {
    return NoTensor(absl::StrCat("shape [", absl::StrJoin(call.item.shape, ","), "] of ",
                                 Name(type->type), " takes a storage of ", stored, ", it has ",
                                 count.integer()));
  }
  // Of a dim of 1 or none, or of no elements, the stride says nothing.
  const std::vector<int64_t> expected = RowMajorStrides(call.item.shape);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (*bytes == 0 || call.item.shape[i] == 1) continue;
    if (strides.size() == expected.size() && strides[i] == expected[i]) continue;
    return NoTensor(absl::StrCat("strides [", absl::StrJoin(strides, ","), "] of shape [",
                                 absl::StrJoin(call.item.shape, ","), "] are not row-major"));
  }
  return call;
}

const ZipRecord* FindRecord(const std::vector<ZipRecord>& records, std::string_view ending) {
  for (const ZipRecord& record : records) {
    // The root may have any name.
    const size_t slash = record.name.find('/');
    if (slash == std::string::npos) continue;
    if (std::string_view(record.name).substr(slash + 1) == ending) return &record;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<ItemLayout> LayOutItem(ElementType type, std::span<const int64_t> shape,
                                      int64_t file_offset) {
  if (!TorchTypeOf(type)) {
    return absl::InvalidArgumentError(absl::StrCat("PyTorch stores no ", Name(type)));
  }
  HETERO_ASSIGN_OR_RETURN(const int64_t bytes, PayloadBytes(type, shape));
  if (bytes > kMaxPayloadBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape [", absl::StrJoin(shape, ","), "] of ", Name(type), " has ", bytes,
                     " bytes, an item at most ", kMaxPayloadBytes, "; divide it into several"));
  }
  const ItemEnds ends = MakeItemEnds(type, shape, 0, file_offset);
  ItemLayout layout;
  layout.offset = file_offset;
  layout.payload_offset = file_offset + std::ssize(ends.head);
  layout.payload_bytes = bytes;
  layout.tail_offset = layout.payload_offset + bytes;
  layout.end = layout.tail_offset + std::ssize(ends.tail);
  return layout;
}

// Head and tail are made by one walk over the records, so that they agree.
ItemEnds MakeItemEnds(ElementType type, std::span<const int64_t> shape, uint32_t crc32,
                      int64_t file_offset) {
  const int64_t bytes = *PayloadBytes(type, shape);
  ZipLayout layout;
  ItemEnds ends;
  const auto add = [&](std::string_view name, std::string_view text) {
    ends.head += layout.LocalHeader(name, std::ssize(text), Crc32(AsBytes(text)));
    ends.head += text;
  };
  add("archive/byteorder", kByteOrder);
  add("archive/version", kVersion);
  add("archive/data.pkl", TensorPickle(*TorchTypeOf(type), shape, bytes));
  ends.head += layout.LocalHeader("archive/data/0", bytes, crc32, file_offset, kItemAlignment);
  ends.tail = layout.Directory();
  return ends;
}

absl::StatusOr<TorchItem> ReadTorchItem(const ReadableFile& item) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<ZipRecord> records, ReadZipDirectory(item));
  const ZipRecord* pickle_record = FindRecord(records, "data.pkl");
  if (pickle_record == nullptr) return absl::DataLossError("the archive has no data.pkl");
  if (const ZipRecord* order = FindRecord(records, "byteorder")) {
    HETERO_ASSIGN_OR_RETURN(const std::string text, ReadZipRecord(item, *order, 16));
    if (text != kByteOrder) return absl::DataLossError("the elements are not little-endian");
  }
  HETERO_ASSIGN_OR_RETURN(std::string bytes, ReadZipRecord(item, *pickle_record, kMaxPickleBytes));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Pickle> pickle, Pickle::Parse(std::move(bytes)));
  HETERO_ASSIGN_OR_RETURN(TensorCall call, ReadTensorCall(pickle->value()));
  const ZipRecord* data = FindRecord(records, absl::StrCat("data/", call.record));
  if (data == nullptr) {
    return absl::DataLossError(absl::StrCat("the archive has no data/", call.record));
  }
  if (data->bytes != call.item.payload_bytes) {
    return absl::DataLossError(absl::StrCat("shape [", absl::StrJoin(call.item.shape, ","), "] of ",
                                            Name(call.item.type), " has ", call.item.payload_bytes,
                                            " bytes, its record ", data->bytes));
  }
  call.item.payload_offset = data->offset;
  call.item.crc32 = data->crc32;
  return std::move(call.item);
}

}  // namespace hetero
