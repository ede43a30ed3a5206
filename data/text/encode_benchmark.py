"""Encodes the same documents with encode_benchmark and with Hugging Face's tokenizers, in turn.

    ./bazelw build //data/text:encode_benchmark
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3
    /tmp/venv/bin/python data/text/encode_benchmark.py bazel-bin/data/text/encode_benchmark

The vocabulary of 32,768 tokens is trained on modules of Python's standard library, every other one
of which is encoded; so the text is English and code. Both use one thread.
"""
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

ROUNDS = 5
WORDS = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def main():
    program = sys.argv[1]
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(library.glob("*.py")) + sorted(library.glob("[a-s]*/*.py"))[:400]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=32768, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))

    documents = texts[::2]
    num_bytes = sum(len(text.encode()) for text in documents)
    with tempfile.TemporaryDirectory() as folder:
        path, packed = f"{folder}/tokenizer.json", f"{folder}/documents"
        tokenizer.save(path)
        with open(packed, "wb") as out:
            for text in documents:
                out.write(b"%d\n" % len(text.encode()) + text.encode())
        speeds = {"ours": [], "encode": [], "encode_batch_fast": []}
        for _ in range(ROUNDS):
            # A new one has nothing in its cache, as ours has none.
            reference = Tokenizer.from_file(path)
            start = time.perf_counter()
            ids = [reference.encode(text, add_special_tokens=False).ids for text in documents]
            speeds["encode"].append(num_bytes / 1e6 / (time.perf_counter() - start))

            reference = Tokenizer.from_file(path)
            start = time.perf_counter()
            reference.encode_batch_fast(documents, add_special_tokens=False)
            speeds["encode_batch_fast"].append(num_bytes / 1e6 / (time.perf_counter() - start))

            result = subprocess.run([program, path, packed], check=True, capture_output=True, text=True)
            ours = dict(line.split() for line in result.stdout.splitlines())
            speeds["ours"].append(float(ours["megabytes_per_second"]))
            total = 0
            for document in ids:
                for i in document:
                    total = (total * 31 + i) % 2**64
            if int(ours["sum"]) != total:
                sys.exit("the ids differ")
    print(f"{len(documents)} documents, {num_bytes / 1e6:.1f} MB")
    for name, values in speeds.items():
        print(f"{name}: {min(values):.2f} to {max(values):.2f} MB/s")
    best = {name: max(values) for name, values in speeds.items()}
    for name in ("encode", "encode_batch_fast"):
        print(f"ours / {name}: {best['ours'] / best[name]:.1f}")


main()
