#include "hetero/trainer/version/version.h"

// jpeglib.h needs its FILE.
#include <cstdio>
//
#include <jpeglib.h>
#include <png.h>
#include <sched.h>
#include <sqlite3.h>
#include <webp/decode.h>
#include <zlib.h>

#include <fstream>
#include <string_view>
#include <vector>

#include "absl/base/config.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/stubs/common.h"
#include "hetero/comm/nccl/nccl_version.h"
#include "hetero/tensor/gpus.h"
#include "hetero/tensor/ops/cpu_target.h"
#include "hetero/trainer/version/commit.h"

namespace hetero {
namespace {

std::string Compiler() {
#if defined(__clang__)
  std::string text = absl::StrCat("Clang ", __clang_version__);
#else
  std::string text = absl::StrCat("GCC ", __VERSION__);
#endif
  absl::StrAppend(&text, ", C++", __cplusplus / 100 % 100);
#ifdef NDEBUG
  absl::StrAppend(&text, ", optimized");
#else
  absl::StrAppend(&text, ", with assertions");
#endif
  return text;
}

std::string ProtobufVersion() {
  return google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
}

std::string Libraries() {
  std::vector<std::string> libraries = {
#ifdef ABSL_LTS_RELEASE_VERSION
      absl::StrCat("Abseil ", ABSL_LTS_RELEASE_VERSION),
#endif
      absl::StrCat("protobuf ", ProtobufVersion()),
      CpuDescription(),
      absl::StrCat("libpng ", PNG_LIBPNG_VER_STRING),
      absl::StrCat("libjpeg-turbo ", LIBJPEG_TURBO_VERSION_NUMBER / 1000000, ".",
                   LIBJPEG_TURBO_VERSION_NUMBER / 1000 % 1000, ".",
                   LIBJPEG_TURBO_VERSION_NUMBER % 1000),
      absl::StrCat("libwebp ", WebPGetDecoderVersion() >> 16, ".",
                   WebPGetDecoderVersion() >> 8 & 255, ".", WebPGetDecoderVersion() & 255),
      absl::StrCat("zlib ", zlibVersion()),
      absl::StrCat("SQLite ", sqlite3_libversion())};
  for (const std::string& optional : {DescribeCuda(), DescribeNccl()}) {
    if (!optional.empty()) libraries.push_back(optional);
  }
  return absl::StrJoin(libraries, "; ");
}

// The first "model name" of the system's list; "CPU" where it names none.
std::string Processor() {
  std::ifstream list("/proc/cpuinfo");
  for (std::string line; std::getline(list, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with("model name") && colon != line.npos) {
      return std::string(absl::StripAsciiWhitespace(std::string_view(line).substr(colon + 1)));
    }
  }
  return "CPU";
}

std::string Devices() {
  cpu_set_t allowed;
  const int threads =
      sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
  std::string text = Processor();
  if (threads > 0) absl::StrAppend(&text, ", ", threads, threads == 1 ? " thread" : " threads");
  return absl::StrCat(text, "; ", DescribeGpus());
}

}  // namespace

std::string ProgramName() {
  const std::string_view commit = kBuildCommit;
  const bool modified = std::string_view(kBuildStatus) == "Modified";
  return absl::StrCat("hetero ", commit == "0" ? "of an unknown commit" : commit,
                      modified ? " with local changes" : "");
}

std::string DescribeProgram() {
  return absl::StrCat(ProgramName(), "\ncompiler: ", Compiler(), "\nlibraries: ", Libraries(),
                      "\ndevices: ", Devices());
}

}  // namespace hetero
