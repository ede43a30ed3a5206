#include "hetero/data/energon/worker_record.h"

#include <bit>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "hetero/base/fnv.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/loader_options.h"

namespace hetero::data {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little endian");

constexpr std::string_view kMagic = "hetero loader worker 1\n";

class Writer {
 public:
  template <typename T>
  void Write(T value) {
    static_assert(sizeof(T) == sizeof(uint64_t) || std::is_same_v<T, bool>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void WriteText(std::string_view text) {
    Write(uint64_t{text.size()});
    bytes_.append(text);
  }
  template <typename List, typename WriteItem>
  void WriteList(const List& list, WriteItem write_item) {
    Write(uint64_t{list.size()});
    for (const auto& item : list) write_item(item);
  }
  std::string Finish() && {
    Write(Fnv1a(bytes_));
    return std::move(bytes_);
  }

 private:
  std::string bytes_ = std::string(kMagic);
};

// What is behind the end of the bytes reads as 0.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  // All bytes were there, and no more.
  bool IsExact() const { return !is_short_ && bytes_.empty(); }

  template <typename T>
  T Read() {
    T value{};
    const std::string_view part = Take(sizeof(T));
    if (part.size() == sizeof(T)) std::memcpy(&value, part.data(), sizeof(T));
    return value;
  }
  std::string_view ReadText() { return Take(Read<uint64_t>()); }
  template <typename ReadItem>
  auto ReadList(ReadItem read_item) {
    std::vector<decltype(read_item())> list;
    const auto size = Read<uint64_t>();
    for (uint64_t i = 0; i < size && !is_short_; ++i) list.push_back(read_item());
    return list;
  }
  bool ReadFlag() { return Read<uint8_t>() != 0; }

 private:
  std::string_view Take(uint64_t size) {
    if (size > bytes_.size()) is_short_ = true;
    if (is_short_) return {};
    const std::string_view part = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return part;
  }

  std::string_view bytes_;
  bool is_short_ = false;
};

RepeatedLoaderState ReadLoader(Reader& reader) {
  RepeatedLoaderState state;
  state.slices.num_draws = reader.Read<uint64_t>();
  state.slices.is_in_epoch = reader.ReadFlag();
  state.slices.pending = reader.ReadList([&] { return reader.Read<int64_t>(); });
  state.slices.open = reader.ReadList([&] {
    const auto slice = reader.Read<int64_t>();
    return OpenSlice{.slice = slice, .next = reader.Read<int64_t>()};
  });
  state.num_repetitions = reader.Read<int64_t>();
  state.num_samples = reader.Read<int64_t>();
  return state;
}

WorkerState ReadState(Reader& reader) {
  WorkerState state;
  state.loaders = reader.ReadList([&] { return ReadLoader(reader); });
  state.blend.num_draws = reader.Read<uint64_t>();
  state.blend.ended = reader.ReadList([&] { return reader.ReadFlag(); });
  state.shuffle.num_draws = reader.Read<uint64_t>();
  state.shuffle.is_draining = reader.ReadFlag();
  state.shuffle.samples = reader.ReadList([&] {
    const auto data_set = reader.Read<int64_t>();
    return SampleReference{.data_set = data_set, .place = reader.Read<int64_t>()};
  });
  state.round.num_rounds = reader.Read<int64_t>();
  state.round.num_batches = reader.Read<int64_t>();
  state.round.has_pass_ended = reader.ReadFlag();
  state.round.has_ended = reader.ReadFlag();
  return state;
}

// The first line that differs.
absl::Status CheckDescription(std::string_view saved, std::string_view now) {
  if (saved == now) return absl::OkStatus();
  const std::vector<std::string_view> before = absl::StrSplit(saved, '\n');
  const std::vector<std::string_view> after = absl::StrSplit(now, '\n');
  size_t i = 0;
  while (i < before.size() && i < after.size() && before[i] == after[i]) ++i;
  const auto line = [&](const std::vector<std::string_view>& lines) {
    return i < lines.size() ? lines[i] : std::string_view();
  };
  return absl::FailedPreconditionError(
      absl::StrFormat("it was saved with \"%s\", now it is \"%s\"; restore with what it was saved "
                      "with",
                      line(before), line(after)));
}

}  // namespace

std::string FormatWorkerRecord(const LoaderPlan& plan, int64_t worker, const WorkerState& state) {
  Writer writer;
  writer.Write(worker);
  writer.Write(plan.options().batch_size);
  writer.Write(plan.BatchesOfEpoch(worker).value_or(0));
  writer.WriteText(Describe(plan.options()));
  writer.WriteList(state.loaders, [&](const RepeatedLoaderState& loader) {
    writer.Write(loader.slices.num_draws);
    writer.Write(loader.slices.is_in_epoch);
    writer.WriteList(loader.slices.pending, [&](int64_t slice) { writer.Write(slice); });
    writer.WriteList(loader.slices.open, [&](const OpenSlice& open) {
      writer.Write(open.slice);
      writer.Write(open.next);
    });
    writer.Write(loader.num_repetitions);
    writer.Write(loader.num_samples);
  });
  writer.Write(state.blend.num_draws);
  writer.WriteList(state.blend.ended, [&](bool ended) { writer.Write(ended); });
  writer.Write(state.shuffle.num_draws);
  writer.Write(state.shuffle.is_draining);
  writer.WriteList(state.shuffle.samples, [&](const SampleReference& sample) {
    writer.Write(sample.data_set);
    writer.Write(sample.place);
  });
  writer.Write(state.round.num_rounds);
  writer.Write(state.round.num_batches);
  writer.Write(state.round.has_pass_ended);
  writer.Write(state.round.has_ended);
  return std::move(writer).Finish();
}

absl::StatusOr<WorkerState> ParseWorkerRecord(std::string_view bytes, const LoaderPlan& plan,
                                              int64_t worker) {
  if (!bytes.starts_with(kMagic)) {
    return absl::FailedPreconditionError(
        absl::StrCat("it does not begin with \"", kMagic.substr(0, kMagic.size() - 1), "\""));
  }
  const size_t sum_at = bytes.size() - sizeof(uint64_t);
  if (bytes.size() < kMagic.size() + sizeof(uint64_t) ||
      Reader(bytes.substr(sum_at)).Read<uint64_t>() != Fnv1a(bytes.substr(0, sum_at))) {
    return absl::DataLossError(absl::StrFormat("its sum does not fit its %d bytes", bytes.size()));
  }
  Reader reader(bytes.substr(kMagic.size(), sum_at - kMagic.size()));
  const auto saved_worker = reader.Read<int64_t>();
  const auto saved_size = reader.Read<int64_t>();
  const auto saved_epoch = reader.Read<int64_t>();
  const std::string_view description = reader.ReadText();
  WorkerState state = ReadState(reader);
  if (!reader.IsExact()) {
    return absl::DataLossError(
        absl::StrFormat("its fields are not those of %d bytes", bytes.size()));
  }
  if (saved_worker != worker) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "it is of worker %d; give the records of all ranks in their order", saved_worker));
  }
  HETERO_RETURN_IF_ERROR(CheckDescription(description, Describe(plan.options())));
  const int64_t size = plan.options().batch_size;
  if (saved_size < size || saved_size % size != 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "it was saved with batch_size %d, now it is %d; it may be a divisor", saved_size, size));
  }
  const int64_t factor = saved_size / size;
  const int64_t epoch = plan.BatchesOfEpoch(worker).value_or(0);
  if (saved_epoch * factor != epoch) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the worker gave %d of the batches of a virtual epoch, now it would give %d; choose "
        "virtual_epoch_length so that it gives %d",
        saved_epoch, epoch, saved_epoch * factor));
  }
  state.round.num_batches *= factor;
  HETERO_RETURN_IF_ERROR(WorkerStream::Check(plan, worker, state));
  return state;
}

}  // namespace hetero::data
