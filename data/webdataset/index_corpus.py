"""Writes the databases of index_corpus/, from which sample_index_fuzz_test starts.

Pages of 512 bytes, the smallest, keep them small.
"""

import pathlib
import sqlite3

FOLDER = pathlib.Path(__file__).parent / "index_corpus"

SAMPLES = """
CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE,
                      sample_index INTEGER NOT NULL, byte_offset INTEGER, byte_size INTEGER);
"""
LOOSE_SAMPLES = "CREATE TABLE samples (tar_file_id, sample_key, sample_index, byte_offset, byte_size);"
PARTS = """
CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT,
                           content_byte_offset INTEGER, content_byte_size INTEGER);
"""
ROWS = """
INSERT INTO samples VALUES (0, 'a', 0, 0, 2048), (0, 'b', 1, 2048, 1024), (1, 'd/c', 0, 0, 1024);
INSERT INTO sample_parts VALUES (0, 0, 'jpg', 512, 7), (0, 0, 'json', 1536, 2),
                                (0, 1, 'jpg', 2560, 9), (1, 0, 'tar.gz', 512, 3);
"""
INDICES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples (tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_full ON sample_parts
    (tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);
"""
MEDIA = """
CREATE TABLE media_metadata (entry_key TEXT PRIMARY KEY, metadata_type TEXT NOT NULL,
                             metadata_json TEXT NOT NULL);
"""
DATABASES = {
    "good": SAMPLES + PARTS + ROWS + INDICES,
    "media": SAMPLES + PARTS + ROWS + MEDIA,
    "no_parts": SAMPLES + "INSERT INTO samples VALUES (0, 'a', 0, 0, 1024);",
    "no_samples": PARTS,
    "odd_values": LOOSE_SAMPLES
    + """INSERT INTO samples VALUES
         ('0', 'a', '1', 0, 0), (-1, 'b', 0, 0, 0), (1, 7, NULL, 0, 0), (1, NULL, 0, 0, 0),
         (9223372036854775807, x'612e6a7067', -9223372036854775808, 0, 0), (1.5, 'd/c', 1e300, 0, 0);
      """,
    "endless_view": """
        CREATE VIEW samples AS WITH RECURSIVE endless(n) AS
            (SELECT 0 UNION ALL SELECT n + 1 FROM endless)
        SELECT n AS tar_file_id, 'k' || n AS sample_key, n AS sample_index FROM endless;
    """,
}


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, script in DATABASES.items():
        path = FOLDER / f"{name}.sqlite"
        path.unlink(missing_ok=True)
        database = sqlite3.connect(path)
        database.executescript("PRAGMA page_size = 512;" + script)
        database.close()
    good = (FOLDER / "good.sqlite").read_bytes()
    (FOLDER / "cut.sqlite").write_bytes(good[: len(good) // 2])
    # A row of 4 GiB less a byte, whose header goes on behind the page. SQLite says that memory is
    # short.
    claims = bytearray((FOLDER / "no_parts.sqlite").read_bytes())
    page = claims.index(b"\r", 512)
    free = page + 256
    claims[page + 8 : page + 10] = (free - page).to_bytes(2, "big")
    claims[free : free + 7] = b"\x8f\xff\xff\xff\x7f\x01\x7f"
    (FOLDER / "claims_4_gib.sqlite").write_bytes(claims)
    # A key of 1.5e9 bytes, more than SQLite takes, in a row of 2e9.
    claims[free : free + 17] = (
        b"\x87\xb9\xd6\xa8\x00\x01" + b"\x0a\x08\x8b\x96\xc1\xbc\x0d\x08\x08\x08" + b"\x00"
    )
    (FOLDER / "claims_a_long_key.sqlite").write_bytes(claims)
    # The header's versions: of a database that keeps its changes in another file.
    (FOLDER / "write_ahead.sqlite").write_bytes(good[:18] + b"\2\2" + good[20:])


if __name__ == "__main__":
    main()
