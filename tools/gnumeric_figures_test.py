#!/usr/bin/env python3
"""Runs gnumeric_figures.py on a manual of a few lines and prepares what it writes."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zlib

HERE = pathlib.Path(__file__).absolute().parent
SCRIPT = HERE / "gnumeric_figures.py"
DATASET_CHECK = HERE / "dataset_check"

BOOK = '<!DOCTYPE article [<!ENTITY gnum "Gnumeric"> <!ENTITY gone SYSTEM "gone.xml">]>'
PAGE = """
<sect1><title>No figure</title>
<figure id="one"><title>The <guilabel>&gnum;</guilabel>
    window &amp; sheet</title>
 <screenshot><mediaobject><imageobject><imagedata fileref="figures/a.png" format="PNG"/></imageobject>
 <textobject><para>A window of &gnum;.</para></textobject></mediaobject></screenshot></figure>
<figure><title>Shown before</title><imagedata fileref="figures/a.png"/></figure>
<figure><title>Not there</title><imagedata fileref="figures/missing.png"/></figure>
<figure><title>A tag is open<imagedata fileref="figures/b.png"/></figure>
<figure><title>Names &gone;</title><imagedata fileref="figures/b.png"/></figure>
<!-- <figure><title>Of another time</title><imagedata fileref="figures/b.png"/></figure> -->
"""


def png(size):
    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes([0] + [200] * size) * size)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) +
            chunk(b"IEND", b""))


def run(*command):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


class FiguresTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.manual = pathlib.Path(folder.name) / "manual"
        self.output = pathlib.Path(folder.name) / "set"
        (self.manual / "figures").mkdir(parents=True)
        (self.manual / "gnumeric.xml").write_text(BOOK)
        (self.manual / "page.xml").write_text(PAGE)
        for name in ("a", "b"):
            (self.manual / f"figures/{name}.png").write_bytes(png(8))

    def add_figures(self, count):
        page = ""
        for i in range(count):
            (self.manual / f"figures/{i}.png").write_bytes(png(8 + i))
            page += f'<figure><title>Plot {i}</title><imagedata fileref="figures/{i}.png"/></figure>'
        (self.manual / "plots.xml").write_text(page)

    def members(self, name):
        with tarfile.open(self.output / name) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar}

    def test_takes_figures_that_are_there_with_their_words(self):
        result = run(sys.executable, SCRIPT, "--manual", self.manual, self.output)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("1 figures in", result.stdout)
        members = self.members("a-00.tar")
        self.assertEqual(list(members), ["0000.png", "0000.txt", "0000.json"])
        self.assertEqual(members["0000.txt"], b"The Gnumeric window & sheet")
        user, assistant = json.loads(members["0000.json"])["conversation"]
        self.assertEqual([fragment["t"] for fragment in user["fragments"]], ["image", "text"])
        self.assertEqual(assistant["fragments"], [{"t": "text", "value": "A window of Gnumeric."}])

    def test_what_it_writes_is_a_data_set(self):
        self.add_figures(16)
        result = run(sys.executable, SCRIPT, "--manual", self.manual, self.output)
        self.assertIn("17 figures in", result.stdout)
        # Every eighth is in val.tar, none twice.
        self.assertEqual(len(self.members("val.tar")), 3 * 2)
        for kind in ("dataset.yaml", "conversations.yaml"):
            prepared = run(DATASET_CHECK, "--prepare", f"--samples={self.output / kind}", self.output,
                           "train=a-{00..03}.tar", "val=val.tar")
            self.assertEqual(prepared.returncode, 0, prepared.stdout)
            self.assertIn("17 samples", prepared.stdout)

    def test_a_folder_without_a_manual_is_named(self):
        result = run(sys.executable, SCRIPT, "--manual", self.output, self.output)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("apt-get install gnumeric-doc", result.stdout)
        os.remove(self.manual / "page.xml")
        result = run(sys.executable, SCRIPT, "--manual", self.manual, self.output)
        self.assertIn("has no figures with titles", result.stdout)


if __name__ == "__main__":
    unittest.main()
