#include "hetero/trainer/feed/split_quarantine.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/data/quarantine.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/quarantine_list.h"
#include "hetero/trainer/feed/sample_reader.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<data::ListedSample> Describe(const data::OpenedBlend& blend,
                                            const SampleReading& reading, int num_modalities,
                                            int64_t index) {
  const auto [part, number] = blend.Find(index);
  const std::shared_ptr<const data::Dataset>& dataset = blend.parts[part].dataset();
  data::ListedSample sample = {
      .data_set = fs::weakly_canonical(dataset->root()).native(),
      .found = absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())};
  HETERO_ASSIGN_OR_RETURN(sample.sample, dataset->NameOf(number));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<data::SampleSource> source, reading.open(dataset));
  std::vector<int> modalities(static_cast<size_t>(num_modalities));
  std::iota(modalities.begin(), modalities.end(), 0);
  const absl::Status read =
      SampleReader(modalities.size()).Read(*source, number, /*language=*/true, modalities);
  sample.reason = read.ok() ? "another rank could not read it" : std::string(read.message());
  return sample;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SplitQuarantine>> QuarantineOf(
    RunQuarantine* quarantine, const InputContract& contract,
    const std::shared_ptr<const data::OpenedBlend>& blend, const SampleReading& reading) {
  if (quarantine == nullptr) return nullptr;
  const int num_modalities = (TakesImages(contract) ? 1 : 0) + (TakesClips(contract) ? 1 : 0);
  auto split = std::make_shared<SplitQuarantine>();
  split->describe = [blend, reading, num_modalities](int64_t index) {
    return Describe(*blend, reading, num_modalities, index);
  };
  std::map<fs::path, std::vector<std::string>> names;
  for (const data::ListedSample& sample : quarantine->listed()) {
    names[fs::weakly_canonical(sample.data_set)].push_back(sample.sample);
  }
  for (const auto& [folder, of_folder] : names) {
    HETERO_ASSIGN_OR_RETURN(
        const std::vector<int64_t> found,
        blend->FindNamed(folder,
                         absl::StrCat("data.quarantine.file has, of ", folder.native(), ","),
                         of_folder));
    for (const int64_t index : found) split->samples->Add(index);
  }
  quarantine->Count(split);
  return split;
}

absl::Status SiftingSource::ReadLanguage(int64_t index, data::LanguageSample& out) {
  const absl::Status read = source_->ReadLanguage(index, out);
  if (!absl::IsDataLoss(read)) return read;
  if (quarantine_.samples->Add(index)) found_.push_back(index);
  data::MakeBlank(index, out);
  return absl::OkStatus();
}

absl::Status SiftingSource::ListFound(const fs::path& file, const data::LongWork& work) const {
  std::vector<data::ListedSample> samples;
  for (const int64_t index : found_) {
    HETERO_ASSIGN_OR_RETURN(samples.emplace_back(), quarantine_.describe(index));
    work.Say(absl::StrCat("passed over: sample ", samples.back().sample, " of ",
                          samples.back().data_set, ": ", samples.back().reason));
  }
  if (samples.empty() || file.empty()) return absl::OkStatus();
  return data::AddToQuarantine(file, samples);
}

}  // namespace hetero
