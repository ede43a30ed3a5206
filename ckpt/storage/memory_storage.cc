#include "hetero/ckpt/storage/memory_storage.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero {

namespace fs = std::filesystem;

using ::hetero::internal::DiskChange;
using ::hetero::internal::MemoryDisk;
using Kind = DiskChange::Kind;

namespace internal {

void Apply(const DiskChange& change, MemoryDisk& disk) {
  switch (change.kind) {
    case Kind::kNewFile:
    case Kind::kNewDirectory:
      disk.nodes.resize(std::max<size_t>(disk.nodes.size(), change.node + 1));
      disk.nodes[change.node].is_directory = change.kind == Kind::kNewDirectory;
      return;
    case Kind::kResize:
      disk.nodes[change.node].bytes.resize(change.offset);
      return;
    case Kind::kWrite: {
      std::string& bytes = disk.nodes[change.node].bytes;
      bytes.resize(std::max(bytes.size(), change.offset + change.bytes.size()));
      std::copy(change.bytes.begin(), change.bytes.end(), bytes.begin() + change.offset);
      return;
    }
    case Kind::kSync:
      return;
    case Kind::kLink:
      disk.nodes[change.node].names[change.name] = change.target;
      return;
    case Kind::kUnlink:
      disk.nodes[change.node].names.erase(change.name);
      return;
    case Kind::kRename: {
      auto& from = disk.nodes[change.node].names;
      const auto at = from.find(change.name);
      if (at == from.end()) return;
      const int node = at->second;
      from.erase(at);
      disk.nodes[change.target].names[change.new_name] = node;
      return;
    }
    case Kind::kExchange: {
      auto& from = disk.nodes[change.node].names;
      auto& to = disk.nodes[change.target].names;
      const auto left = from.find(change.name);
      const auto right = to.find(change.new_name);
      if (left != from.end() && right != to.end()) std::swap(left->second, right->second);
      return;
    }
  }
}

}  // namespace internal

class MemoryStorage::File : public WritableFile, public ReadableFile {
 public:
  File(MemoryStorage& storage, fs::path path, int node, int64_t size)
      : storage_(storage), path_(std::move(path)), node_(node), size_(size) {}

  absl::Status Allocate(int64_t bytes) override {
    absl::MutexLock lock(&storage_.mutex_);
    HETERO_RETURN_IF_ERROR(storage_.Grow(path_, node_, bytes));
    storage_.Change({.kind = Kind::kResize, .node = node_, .offset = bytes});
    return absl::OkStatus();
  }

  absl::Status Write(int64_t offset, std::span<const std::byte> bytes) override {
    absl::MutexLock lock(&storage_.mutex_);
    HETERO_RETURN_IF_ERROR(storage_.Grow(path_, node_, offset + std::ssize(bytes)));
    storage_.Change(
        {.kind = Kind::kWrite,
         .node = node_,
         .offset = offset,
         .bytes = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    absl::MutexLock lock(&storage_.mutex_);
    storage_.Change({.kind = Kind::kSync, .node = node_});
    return absl::OkStatus();
  }

  absl::Status Close() override { return absl::OkStatus(); }

  int64_t size() const override { return size_; }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    absl::MutexLock lock(&storage_.mutex_);
    const std::string& bytes = storage_.disk_.nodes[node_].bytes;
    if (offset + out.size() > bytes.size()) {
      return absl::DataLossError(absl::StrCat(path_.native(), ": ends at ", bytes.size(),
                                              " within the ", out.size(), " bytes at ", offset,
                                              "; it had ", size_, " bytes when it was opened"));
    }
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    return absl::OkStatus();
  }

 private:
  MemoryStorage& storage_;
  fs::path path_;
  int node_;
  int64_t size_;
};

void MemoryStorage::set_capacity(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  capacity_ = bytes;
}

MemoryDisk MemoryStorage::disk() const {
  absl::MutexLock lock(&mutex_);
  return disk_;
}

void MemoryStorage::Change(const DiskChange& change) {
  Apply(change, disk_);
  Record(change);
}

int MemoryStorage::New(Kind kind) {
  const int node = static_cast<int>(disk_.nodes.size());
  Change({.kind = kind, .node = node});
  return node;
}

// Bytes of files that have a name: another file's were given back.
int64_t MemoryStorage::BytesLeft() const {
  std::set<int> named;
  for (const MemoryDisk::Node& node : disk_.nodes) {
    for (const auto& [name, target] : node.names) named.insert(target);
  }
  int64_t left = capacity_;
  for (const int node : named) left -= std::ssize(disk_.nodes[node].bytes);
  return left;
}

absl::Status MemoryStorage::Grow(const fs::path& path, int node, int64_t size) {
  const int64_t more = size - std::ssize(disk_.nodes[node].bytes);
  if (more <= 0 || more <= BytesLeft()) return absl::OkStatus();
  return SystemError(ENOSPC, absl::StrCat(path.native(), ": cannot grow to ", size, " bytes"));
}

absl::StatusOr<MemoryStorage::Place> MemoryStorage::Find(const fs::path& path) const {
  Place place = {.folder = 0, .name = "", .node = 0};
  for (const fs::path& part : path.lexically_normal().relative_path()) {
    if (part.empty() || part == ".") continue;
    if (place.node < 0 || !disk_.nodes[place.node].is_directory) {
      return SystemError(ENOENT, absl::StrCat("cannot find ", path.native()));
    }
    const auto& names = disk_.nodes[place.node].names;
    const auto at = names.find(part.native());
    place = {
        .folder = place.node, .name = part.native(), .node = at == names.end() ? -1 : at->second};
  }
  return place;
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryStorage::Create(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(Place place, Find(path));
  if (place.node < 0) {
    place.node = New(Kind::kNewFile);
    Change({.kind = Kind::kLink, .node = place.folder, .target = place.node, .name = place.name});
  } else if (disk_.nodes[place.node].is_directory) {
    return SystemError(EISDIR, absl::StrCat("cannot create ", path.native()));
  } else {
    Change({.kind = Kind::kResize, .node = place.node, .offset = 0});
  }
  return std::make_unique<File>(*this, path, place.node, 0);
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryStorage::OpenForWriting(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0) return SystemError(ENOENT, absl::StrCat("cannot open ", path.native()));
  return std::make_unique<File>(*this, path, place.node, 0);
}

absl::Status MemoryStorage::CreateExclusive(const fs::path& path, std::string_view text) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node >= 0) return SystemError(EEXIST, absl::StrCat("cannot create ", path.native()));
  if (std::ssize(text) > BytesLeft()) {
    return SystemError(ENOSPC, absl::StrCat("cannot create ", path.native()));
  }
  const int node = New(Kind::kNewFile);
  Change({.kind = Kind::kWrite, .node = node, .bytes = std::string(text)});
  Change({.kind = Kind::kSync, .node = node});
  Change({.kind = Kind::kLink, .node = place.folder, .target = node, .name = place.name});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ReadableFile>> MemoryStorage::Open(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0) return SystemError(ENOENT, absl::StrCat("cannot open ", path.native()));
  const MemoryDisk::Node& node = disk_.nodes[place.node];
  if (node.is_directory) {
    return absl::InvalidArgumentError(absl::StrCat(path.native(), " is not a regular file"));
  }
  return std::make_unique<File>(*this, path, place.node, std::ssize(node.bytes));
}

absl::Status MemoryStorage::Rename(const fs::path& from, const fs::path& to, RenameMode mode) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place source, Find(from));
  HETERO_ASSIGN_OR_RETURN(const Place target, Find(to));
  const auto error = [&](int code) {
    return SystemError(code, absl::StrCat("cannot rename ", from.native(), " to ", to.native()));
  };
  if (source.node < 0) return error(ENOENT);
  if (mode == RenameMode::kExchange && target.node < 0) return error(ENOENT);
  if (mode == RenameMode::kNoReplace && target.node >= 0) return error(EEXIST);
  if (mode == RenameMode::kReplace && target.node >= 0) {
    const MemoryDisk::Node& replaced = disk_.nodes[target.node];
    if (replaced.is_directory && !replaced.names.empty()) return error(ENOTEMPTY);
    if (replaced.is_directory != disk_.nodes[source.node].is_directory) {
      return error(replaced.is_directory ? EISDIR : ENOTDIR);
    }
  }
  Change({.kind = mode == RenameMode::kExchange ? Kind::kExchange : Kind::kRename,
          .node = source.folder,
          .target = target.folder,
          .name = source.name,
          .new_name = target.name});
  return absl::OkStatus();
}

absl::Status MemoryStorage::Link(const fs::path& from, const fs::path& to) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place source, Find(from));
  HETERO_ASSIGN_OR_RETURN(const Place target, Find(to));
  const auto error = [&](int code) {
    return SystemError(code, absl::StrCat("cannot link ", to.native(), " to ", from.native()));
  };
  if (source.node < 0) return error(ENOENT);
  if (disk_.nodes[source.node].is_directory) return error(EISDIR);
  if (target.node >= 0) return error(EEXIST);
  Change({.kind = Kind::kLink, .node = target.folder, .target = source.node, .name = target.name});
  return absl::OkStatus();
}

absl::Status MemoryStorage::SyncDirectory(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0 || !disk_.nodes[place.node].is_directory) {
    return SystemError(ENOENT, absl::StrCat(path.native(), ": cannot flush its names"));
  }
  Change({.kind = Kind::kSync, .node = place.node});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MemoryStorage::List(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0) return SystemError(ENOENT, absl::StrCat("cannot list ", path.native()));
  const MemoryDisk::Node& node = disk_.nodes[place.node];
  if (!node.is_directory) {
    return SystemError(ENOTDIR, absl::StrCat("cannot list ", path.native()));
  }
  std::vector<std::string> names;
  for (const auto& [name, target] : node.names) names.push_back(name);
  return names;
}

absl::Status MemoryStorage::MakeDirectory(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  fs::path above;
  for (const fs::path& part : path.lexically_normal()) {
    above /= part;
    HETERO_ASSIGN_OR_RETURN(const Place place, Find(above));
    if (place.node >= 0) {
      if (disk_.nodes[place.node].is_directory) continue;
      return SystemError(ENOTDIR, absl::StrCat("cannot make the folder ", path.native()));
    }
    const int node = New(Kind::kNewDirectory);
    Change({.kind = Kind::kLink, .node = place.folder, .target = node, .name = place.name});
  }
  return absl::OkStatus();
}

absl::Status MemoryStorage::Remove(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0) return SystemError(ENOENT, absl::StrCat("cannot remove ", path.native()));
  if (!disk_.nodes[place.node].names.empty()) {
    return SystemError(ENOTEMPTY, absl::StrCat("cannot remove ", path.native()));
  }
  Change({.kind = Kind::kUnlink, .node = place.folder, .name = place.name});
  return absl::OkStatus();
}

absl::StatusOr<int64_t> MemoryStorage::FreeBytes(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  HETERO_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node >= 0) return BytesLeft();
  return SystemError(ENOENT, absl::StrCat(path.native(), ": cannot tell the free space"));
}

absl::StatusOr<PathKind> MemoryStorage::KindOf(const fs::path& path) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Place> place = Find(path);
  if (!place.ok() || place->node < 0) return PathKind::kAbsent;
  return disk_.nodes[place->node].is_directory ? PathKind::kDirectory : PathKind::kFile;
}

}  // namespace hetero
