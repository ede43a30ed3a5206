#include "hetero/telemetry/event_file.h"

#include <unistd.h>

#include <bit>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/telemetry/event/event.pb.h"

namespace hetero {
namespace {

constexpr std::string_view kFileVersion = "brain.Event:2";

double Seconds(absl::Time time) { return absl::ToUnixMicros(time) / 1e6; }

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

void AppendLittleEndian(uint64_t value, int num_bytes, std::string& out) {
  for (int i = 0; i < num_bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

namespace internal {

uint32_t MaskedCrc32c(std::string_view bytes) {
  const auto crc = static_cast<uint32_t>(absl::ComputeCrc32c(bytes));
  return std::rotr(crc, 15) + 0xa282ead8u;
}

void AppendTfRecord(std::string_view payload, std::string& out) {
  const size_t begin = out.size();
  AppendLittleEndian(payload.size(), 8, out);
  AppendLittleEndian(MaskedCrc32c(std::string_view(out).substr(begin)), 4, out);
  out.append(payload);
  AppendLittleEndian(MaskedCrc32c(payload), 4, out);
}

}  // namespace internal

absl::StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& directory,
                                                             absl::Time now) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return SystemError(error.value(), absl::StrCat("cannot create folder ", directory));
  }
  const std::string base = absl::StrCat(directory, "/events.out.tfevents.",
                                        absl::ToUnixSeconds(now), ".", HostName(), ".", getpid());
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<AsyncFile> created,
                          AsyncFile::Create(base, "event file"));
  std::unique_ptr<EventFile> file(new EventFile(std::move(created)));
  TensorBoardEvent event;
  event.set_wall_time(Seconds(now));
  event.set_file_version(std::string(kFileVersion));
  file->Append(event.SerializeAsString());
  return file;
}

void EventFile::AddScalars(int64_t step, absl::Time wall_time, std::span<const Scalar> scalars) {
  if (scalars.empty()) return;
  TensorBoardEvent event;
  event.set_wall_time(Seconds(wall_time));
  event.set_step(step);
  for (const Scalar& scalar : scalars) {
    TensorBoardSummary::Value& value = *event.mutable_summary()->add_value();
    value.set_tag(std::string(scalar.tag));
    value.set_simple_value(static_cast<float>(scalar.value));
  }
  Append(event.SerializeAsString());
}

void EventFile::Append(std::string_view payload) {
  std::string record;
  internal::AppendTfRecord(payload, record);
  file_->Append(record);
}

}  // namespace hetero
