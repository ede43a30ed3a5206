#ifndef HETERO_DATA_WEBDATASET_MEMORY_DATABASE_H_
#define HETERO_DATA_WEBDATASET_MEMORY_DATABASE_H_

// Bytes in place of the files that SQLite reads: opening a file is most of the time of a fuzz run.

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

namespace hetero::data {

// While it lives, every database that is opened in this process, under whatever name, has the bytes
// given to Set. They are read only, and no other file is found beside them.
class MemoryDatabase {
 public:
  MemoryDatabase() {
    vfs_ = *sqlite3_vfs_find(nullptr);
    vfs_.szOsFile = sizeof(File);
    vfs_.pNext = nullptr;
    vfs_.zName = "memory_database";
    vfs_.pAppData = this;
    vfs_.xOpen = Open;
    vfs_.xAccess = [](sqlite3_vfs*, const char*, int, int* answer) {
      *answer = 0;
      return SQLITE_OK;
    };
    vfs_.xFullPathname = [](sqlite3_vfs*, const char* name, int size, char* out) {
      const size_t length = std::strlen(name);
      if (length >= static_cast<size_t>(size)) return SQLITE_CANTOPEN;
      std::memcpy(out, name, length + 1);
      return SQLITE_OK;
    };
    sqlite3_vfs_register(&vfs_, /*makeDflt=*/1);
  }
  MemoryDatabase(const MemoryDatabase&) = delete;
  ~MemoryDatabase() { sqlite3_vfs_unregister(&vfs_); }

  // They outlive the databases that are opened of them.
  void Set(std::string_view bytes) { bytes_ = bytes; }

 private:
  struct File {
    sqlite3_file base;
    std::string_view bytes;
  };

  static int Open(sqlite3_vfs* vfs, const char*, sqlite3_file* file, int flags, int* out_flags) {
    file->pMethods = nullptr;
    if ((flags & SQLITE_OPEN_MAIN_DB) == 0) return SQLITE_CANTOPEN;
    const auto* const database = static_cast<const MemoryDatabase*>(vfs->pAppData);
    new (file) File{.base = {.pMethods = &Methods()}, .bytes = database->bytes_};
    if (out_flags != nullptr) *out_flags = SQLITE_OPEN_READONLY;
    return SQLITE_OK;
  }

  static int Read(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
    const std::string_view bytes = reinterpret_cast<const File*>(file)->bytes;
    const size_t begin = std::min(static_cast<size_t>(offset), bytes.size());
    const size_t count = std::min(static_cast<size_t>(size), bytes.size() - begin);
    std::memcpy(out, bytes.data() + begin, count);
    if (count == static_cast<size_t>(size)) return SQLITE_OK;
    std::memset(static_cast<char*>(out) + count, 0, size - count);
    return SQLITE_IOERR_SHORT_READ;
  }

  static const sqlite3_io_methods& Methods() {
    static const sqlite3_io_methods methods = {
        .iVersion = 1,
        .xClose = [](sqlite3_file*) { return SQLITE_OK; },
        .xRead = Read,
        .xWrite = [](sqlite3_file*, const void*, int, sqlite3_int64) { return SQLITE_READONLY; },
        .xTruncate = [](sqlite3_file*, sqlite3_int64) { return SQLITE_READONLY; },
        .xSync = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xFileSize =
            [](sqlite3_file* file, sqlite3_int64* size) {
              *size = static_cast<sqlite3_int64>(reinterpret_cast<const File*>(file)->bytes.size());
              return SQLITE_OK;
            },
        .xLock = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xUnlock = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xCheckReservedLock =
            [](sqlite3_file*, int* answer) {
              *answer = 0;
              return SQLITE_OK;
            },
        .xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; },
        .xSectorSize = [](sqlite3_file*) { return 0; },
        .xDeviceCharacteristics = [](sqlite3_file*) { return SQLITE_IOCAP_IMMUTABLE; },
    };
    return methods;
  }

  std::string_view bytes_;
  sqlite3_vfs vfs_ = {};
};

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_MEMORY_DATABASE_H_
