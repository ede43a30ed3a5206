#include "hetero/data/webdataset/sample_index.h"

#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "hetero/base/out_of_memory.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/repack_command.h"

namespace hetero::data {
namespace {

constexpr char kTables[] =
    "CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, "
    "sample_index INTEGER NOT NULL, byte_offset INTEGER, byte_size INTEGER);"
    "CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, "
    "content_byte_offset INTEGER, content_byte_size INTEGER);";

// Built after the rows: sorting once is faster than keeping an index sorted.
constexpr char kIndices[] =
    "CREATE INDEX idx_samples_by_tar_and_idx ON samples (tar_file_id, sample_index);"
    "CREATE INDEX idx_sample_parts_seq ON sample_parts "
    "(tar_file_id, sample_index, content_byte_offset);"
    "CREATE INDEX idx_sample_parts_full ON sample_parts "
    "(tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);";

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// SQLite says that memory is short also of damage: of a row whose length wraps around, for one.
// There is memory where this much can be had, which is more than its page cache takes.
bool HasMemory() {
  constexpr sqlite3_uint64 kEnoughBytes = sqlite3_uint64{16} << 20;
  void* const memory = sqlite3_malloc64(kEnoughBytes);
  sqlite3_free(memory);
  return memory != nullptr;
}

absl::Status Failure(sqlite3* database, std::string_view path) {
  const std::string message = absl::StrCat(path, ": ", sqlite3_errmsg(database));
  switch (sqlite3_errcode(database) & 0xff) {  // the rest of the code tells which operation failed
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_ERROR:
    case SQLITE_TOOBIG:  // than SQLite takes, which an index is far from
      return absl::DataLossError(message);
    case SQLITE_NOMEM:
      if (!HasMemory()) return OutOfMemoryError(message);
      return absl::DataLossError(
          absl::StrCat(path, ": the database is damaged: it claims more than memory can hold"));
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY: {
      const int error = sqlite3_system_errno(database);
      return error == 0 ? absl::ResourceExhaustedError(message) : SystemError(error, message);
    }
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<Database> OpenDatabase(const std::string& name, int flags, std::string_view path) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &raw, flags, nullptr);
  Database database(raw);
  if (raw == nullptr) return OutOfMemoryError(absl::StrCat(path, ": no memory for a database"));
  if (code != SQLITE_OK) return Failure(raw, path);
  return database;
}

// Of a file that nothing writes: SQLite then neither locks it nor looks for changes beside it, so
// the folder may be read-only.
std::string ImmutableName(std::string_view path) {
  return absl::StrCat(
      "file:", absl::StrReplaceAll(path, {{"%", "%25"}, {"?", "%3f"}, {"#", "%23"}}),
      "?immutable=1");
}

// Others may have made the database: its tables are read, nothing that it defines is run.
absl::Status DistrustSchema(sqlite3* database, std::string_view path) {
  for (const int option : {SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_ENABLE_VIEW}) {
    if (sqlite3_db_config(database, option, 0, nullptr) != SQLITE_OK)
      return Failure(database, path);
  }
  return absl::OkStatus();
}

absl::Status Execute(sqlite3* database, const char* sql, std::string_view path) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return Failure(database, path);
  }
  return absl::OkStatus();
}

absl::StatusOr<Statement> Prepare(sqlite3* database, const char* sql, std::string_view path) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(database, sql, -1, &raw, nullptr) != SQLITE_OK) {
    return Failure(database, path);
  }
  return Statement(raw);
}

void BindText(sqlite3_stmt* statement, int column, std::string_view text) {
  sqlite3_bind_text(statement, column, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

void BindInteger(sqlite3_stmt* statement, int column, uint64_t value) {
  sqlite3_bind_int64(statement, column, static_cast<sqlite3_int64>(value));
}

}  // namespace

struct SampleIndexWriter::State {
  std::string path;
  Database database;
  Statement insert_sample;
  Statement insert_part;
  std::vector<std::string> shard_names;
};

namespace {

// The error for `sample`, number `i` of `shard`, whose key the database has already.
absl::Status RepeatedKey(const SampleIndexWriter::State& state, const SampleEntry& sample, size_t i,
                         std::string_view shard) {
  sqlite3* database = state.database.get();
  HETERO_ASSIGN_OR_RETURN(
      const Statement find,
      Prepare(database, "SELECT tar_file_id, sample_index FROM samples WHERE sample_key = ?",
              state.path));
  BindText(find.get(), 1, sample.key);
  if (sqlite3_step(find.get()) != SQLITE_ROW) return Failure(database, state.path);
  const sqlite3_int64 first_shard_id = sqlite3_column_int64(find.get(), 0);
  const sqlite3_int64 first_index = sqlite3_column_int64(find.get(), 1);
  const std::string& first_shard = state.shard_names[first_shard_id];
  HETERO_ASSIGN_OR_RETURN(
      const Statement parts,
      Prepare(database,
              "SELECT part_name FROM sample_parts WHERE tar_file_id = ? AND sample_index = ?",
              state.path));
  BindInteger(parts.get(), 1, first_shard_id);
  BindInteger(parts.get(), 2, first_index);
  bool share_a_part = false;
  while (sqlite3_step(parts.get()) == SQLITE_ROW) {
    const std::string_view part(reinterpret_cast<const char*>(sqlite3_column_text(parts.get(), 0)),
                                static_cast<size_t>(sqlite3_column_bytes(parts.get(), 0)));
    share_a_part |= std::any_of(sample.parts.begin(), sample.parts.end(),
                                [&](const PartEntry& entry) { return entry.extension == part; });
  }
  const std::string places =
      absl::StrFormat("sample %d of %s and sample %d of %s", first_index, first_shard, i, shard);
  if (share_a_part) {
    return absl::DataLossError(
        absl::StrFormat("key \"%s\" names two samples: %s; keys are unique in a data set, rename "
                        "the members of one",
                        sample.key, places));
  }
  if (first_shard != shard) {
    return absl::DataLossError(
        absl::StrFormat("the members of sample \"%s\" lie in two shards, as %s; a sample's members "
                        "stand side by side in one tar",
                        sample.key, places));
  }
  return absl::DataLossError(
      absl::StrFormat("the members of sample \"%s\" do not stand side by side in %s: they make %s; "
                      "in the data set's folder, sort the tar by name: %s",
                      sample.key, shard, places, RepackCommand(shard)));
}

}  // namespace

SampleIndexWriter::SampleIndexWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SampleIndexWriter::~SampleIndexWriter() = default;

absl::StatusOr<std::unique_ptr<SampleIndexWriter>> SampleIndexWriter::Create(
    const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  state->path = path.native();
  HETERO_ASSIGN_OR_RETURN(
      state->database,
      OpenDatabase(state->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, state->path));
  sqlite3* database = state->database.get();
  // The file is worthless until Close() has flushed it, so no write waits for the device before.
  HETERO_RETURN_IF_ERROR(Execute(
      database, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;", state->path));
  HETERO_RETURN_IF_ERROR(Execute(database, kTables, state->path));
  HETERO_ASSIGN_OR_RETURN(
      state->insert_sample,
      Prepare(database, "INSERT INTO samples VALUES (?, ?, ?, ?, ?)", state->path));
  HETERO_ASSIGN_OR_RETURN(
      state->insert_part,
      Prepare(database, "INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", state->path));
  return std::unique_ptr<SampleIndexWriter>(new SampleIndexWriter(std::move(state)));
}

absl::Status SampleIndexWriter::AddShard(int64_t id, std::string_view name,
                                         const ShardContents& contents) {
  sqlite3* database = state_->database.get();
  state_->shard_names.resize(id + 1);
  state_->shard_names[id] = name;
  const auto shard_id = static_cast<uint64_t>(id);
  for (size_t i = 0; i < contents.samples.size(); ++i) {
    const SampleEntry& sample = contents.samples[i];
    const uint64_t end =
        i + 1 < contents.samples.size() ? contents.samples[i + 1].offset : contents.end_offset;
    sqlite3_stmt* insert = state_->insert_sample.get();
    sqlite3_reset(insert);
    BindInteger(insert, 1, shard_id);
    BindText(insert, 2, sample.key);
    BindInteger(insert, 3, i);
    BindInteger(insert, 4, sample.offset);
    BindInteger(insert, 5, end - sample.offset);
    if (sqlite3_step(insert) != SQLITE_DONE) {
      if (sqlite3_extended_errcode(database) != SQLITE_CONSTRAINT_UNIQUE) {
        return Failure(database, state_->path);
      }
      return RepeatedKey(*state_, sample, i, name);
    }
    for (const PartEntry& part : sample.parts) {
      insert = state_->insert_part.get();
      sqlite3_reset(insert);
      BindInteger(insert, 1, shard_id);
      BindInteger(insert, 2, i);
      BindText(insert, 3, part.extension);
      BindInteger(insert, 4, part.payload_offset);
      BindInteger(insert, 5, part.payload_size);
      if (sqlite3_step(insert) != SQLITE_DONE) return Failure(database, state_->path);
    }
  }
  return absl::OkStatus();
}

absl::Status SampleIndexWriter::Close() {
  state_->insert_sample.reset();
  state_->insert_part.reset();
  sqlite3* database = state_->database.get();
  HETERO_RETURN_IF_ERROR(Execute(database, kIndices, state_->path));
  HETERO_RETURN_IF_ERROR(Execute(database, "COMMIT;", state_->path));
  const std::string path = std::move(state_->path);
  state_.reset();
  return SyncToDevice(path);
}

struct SampleIndex::State {
  std::string path;
  Database database;
  Statement find;
};

SampleIndex::SampleIndex(std::unique_ptr<State> state) : state_(std::move(state)) {}
SampleIndex::~SampleIndex() = default;

absl::StatusOr<std::unique_ptr<SampleIndex>> SampleIndex::Open(const std::filesystem::path& path) {
  const absl::Status is_file = OpenFile(path).status();
  if (absl::IsNotFound(is_file)) {
    return absl::NotFoundError(
        absl::StrCat("no file ", path.native(), "; prepare the data set again"));
  }
  HETERO_RETURN_IF_ERROR(is_file);
  auto state = std::make_unique<State>();
  state->path = path.native();
  HETERO_ASSIGN_OR_RETURN(state->database,
                          OpenDatabase(ImmutableName(state->path),
                                       SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, state->path));
  HETERO_RETURN_IF_ERROR(DistrustSchema(state->database.get(), state->path));
  HETERO_ASSIGN_OR_RETURN(
      state->find,
      Prepare(state->database.get(),
              "SELECT tar_file_id, sample_index FROM samples WHERE sample_key = ?", state->path));
  return std::unique_ptr<SampleIndex>(new SampleIndex(std::move(state)));
}

absl::StatusOr<bool> SampleIndex::HasMediaMetadata() {
  sqlite3* database = state_->database.get();
  HETERO_ASSIGN_OR_RETURN(
      const Statement find,
      Prepare(database,
              "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'media_metadata'",
              state_->path));
  const int code = sqlite3_step(find.get());
  if (code != SQLITE_ROW && code != SQLITE_DONE) return Failure(database, state_->path);
  return code == SQLITE_ROW;
}

absl::StatusOr<std::optional<SampleIndex::Location>> SampleIndex::Find(std::string_view key) {
  sqlite3_stmt* find = state_->find.get();
  sqlite3_reset(find);
  BindText(find, 1, key);
  const int code = sqlite3_step(find);
  if (code == SQLITE_DONE) return std::nullopt;
  if (code != SQLITE_ROW) return Failure(state_->database.get(), state_->path);
  return Location{.shard_id = sqlite3_column_int64(find, 0),
                  .sample_index = sqlite3_column_int64(find, 1)};
}

absl::StatusOr<std::string> SampleIndex::KeyAt(const Location& location) {
  HETERO_ASSIGN_OR_RETURN(
      const Statement find,
      Prepare(state_->database.get(),
              "SELECT sample_key FROM samples WHERE tar_file_id = ? AND sample_index = ?",
              state_->path));
  BindInteger(find.get(), 1, static_cast<uint64_t>(location.shard_id));
  BindInteger(find.get(), 2, static_cast<uint64_t>(location.sample_index));
  const int code = sqlite3_step(find.get());
  if (code == SQLITE_DONE) {
    return absl::DataLossError(absl::StrCat(state_->path, " has no sample ", location.sample_index,
                                            " of shard ", location.shard_id));
  }
  if (code != SQLITE_ROW) return Failure(state_->database.get(), state_->path);
  return std::string(reinterpret_cast<const char*>(sqlite3_column_text(find.get(), 0)),
                     static_cast<size_t>(sqlite3_column_bytes(find.get(), 0)));
}

}  // namespace hetero::data
