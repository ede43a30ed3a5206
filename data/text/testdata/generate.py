"""Trains small tokenizers and writes what the reference implementations make of texts with them.

    python3 -m venv /tmp/venv
    /tmp/venv/bin/pip install tokenizers==0.23.3 transformers==5.24.0 jinja2==3.1.6 sentencepiece==0.2.3
    /tmp/venv/bin/python generate.py

Files of this folder:

    *.json, *.model   tokenizers, trained on TRAINING below
    expected.txt      "text HEX" of each text; then "tokenizer NAME" and for each text "ids ..." and
                      "decoded HEX", or "decoded =" where it is the text, as UTF-8, again;
                      of the first texts only where there are fewer
    chat.txt          conversations: "turn ROLE HEX" of each turn, then "ids ..." and "mask ...", 1
                      where transformers counts a token as said by an assistant
"""
import json
import pathlib

import sentencepiece
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).parent

# Written for this file.
TRAINING = [
    "The encoder reads the picture, and the language model writes what it sees. It's a small step.",
    "We'll train on two grids at once: one for images and one for text; they don't share a rank.",
    "Photographs of trousers, pullovers, dresses, coats, sandals, shirts, sneakers, bags and boots.",
    "She said that he'd seen 1234 ships, 56 boats and 7 rafts on the 8th of May, 1999.",
    "Der Zug fährt heute über die Brücke; die Straße ist naß und die Äpfel sind süß.",
    "L'été dernier, nous avons mangé des crêpes à côté du théâtre. Où êtes-vous allés ?",
    "El niño compró piñas y plátanos en el mercado; ¿cuánto costó?",
    "Поезд идёт через мост, а дети смотрят на реку и считают вагоны.",
    "Το τρένο περνά τη γέφυρα και τα παιδιά κοιτούν το ποτάμι.",
    "火车今天过桥，孩子们看着河水数车厢。我们一起训练模型。",
    "電車は今日橋を渡ります。子供たちは川を見ています。カメラで写真を撮る。",
    "기차가 오늘 다리를 건넙니다. 아이들은 강을 보고 있어요.",
    "القطار يعبر الجسر اليوم والأطفال ينظرون إلى النهر.",
    "הרכבת חוצה את הגשר היום והילדים מסתכלים על הנהר.",
    "रेलगाड़ी आज पुल पार करती है और बच्चे नदी को देखते हैं।",
    "รถไฟข้ามสะพานวันนี้ และเด็กๆ มองดูแม่น้ำ",
    "Tàu hỏa đi qua cầu hôm nay, trẻ em nhìn dòng sông.",
    "for (int i = 0; i < n; ++i) {\n    sum += values[i] * weights[i];\n}\nreturn sum;\n",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n",
    "#include <vector>\n\ntemplate <typename T>\nT Largest(const std::vector<T>& values);\n",
    "{\"name\": \"tiny\", \"layers\": 2, \"grid\": {\"tp\": 2, \"dp\": 4}}",
    "😀 😃 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ 🚂🌉",
    "   leading spaces,\ttabs\t\tand   runs   of blanks   \n\n\n  and lines  \r\n",
] * 4

# Written for this file; none of them is trained on.
TEXTS = [
    "",
    " ",
    "a",
    "Hello, world! It's Friday; we're done, they've left, I'm here, you'd go, she'll stay.",
    "IT'S LOUD, WE'RE, THEY'VE, I'M, YOU'D, SHE'LL; it\u2019s and it'\u017f",
    "The model reads 3 pictures and 1234567 words in 0.25 s (25%).",
    "CamelCaseWords and snake_case_words, HTTPServer2 and iPhone15Pro",
    "  two before, two behind  ",
    "tabs\t\tand\nlines\n\n\nand\r\nDOS\r\n\r\n",
    "\u00a0no-break\u00a0space, \u2003em\u2003space, \u3000wide\u3000space, \u180evowel\u180eseparator, \u200bzero\u200bwidth",
    "line\u2028separator, paragraph\u2029separator, next\u0085line, \x0bvertical, \x0cform",
    "\x00\x01\x02 control \x7f\x80\x9f",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Voix ambiguë d'un cœur qui préfère les jattes de kiwis à l'abri.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία.",
    "我能吞下玻璃而不伤身体。汉字和English混排，数字12345也在。",
    "いろはにほへと ちりぬるを、カタカナとひらがなと漢字。",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "صِف خَلقَ خَودِ كَمِثلِ الشَمسِ إِذ بَزَغَت",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "Chào thế giới! Con cáo nâu nhảy qua chó lười.",
    "decomposed: e\u0301 u\u0308 A\u030a n\u0303 \u1112\u1161\u11ab and \u2126 \u212b \ufb01 \u0958 \u1e9b\u0323",
    "order of marks: a\u0323\u0302 a\u0302\u0323 q\u0307\u0323",
    "numbers: \u0663\u0664\u0665 \u096a\u096b \u2167 \u00bd \u00b2 \u2460 \u4e09 42",
    "letters: \u01c5 \u02b0 \u00aa \u1d2c \u24b6 \u0345 \u203f a\u203fb",
    "😀😃😄 👍🏽👍🏿 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇯🇵 ❤️‍🔥 1️⃣ ☺︎",
    "math: ∀x∈ℝ: x²≥0, ∑ᵢ aᵢ·bᵢ ≠ ∞ → √2 ≈ 1.414 €£¥₿",
    "if (a[i] != b->c) { x += ~y & 0xFF; } // TODO(me): fix\n\treturn -1;\n",
    "SELECT * FROM \"t\" WHERE a LIKE '%x_%' AND b IN (1,2,3);--",
    "https://example.com/a/b.html?x=1&y=%20#z user@host.org C:\\dir\\file.txt",
    "!!!???...---===<<<>>>///\\\\\\|||~~~```",
    "a" * 200,
    "ab" * 120 + " " + " " * 120 + "end",
    "supercalifragilisticexpialidocious" * 6,
    "火" * 90,
    "\n" * 70 + "x" + "\t" * 70,
    "<|im_start|>user\nWhat is in <image>?<|im_end|>\n",
    "<|im_start|><|im_end|><image><image></img><img>",
    "<|im_start| >, <|im_star, < |im_end|>, <imagery>, <image",
    "the wordWord Word word, Word\u0301 Word_ (Word)",
    "left   <left>  right  <right>   <both>  \n x<left><right> y",
    "<right> <left>  <both> <both>",
    "\u03ac\u03b2 \u03b1\u0301\u03b2 \u03ac\u03b2\u03b3, caf\u00e9 cafe\u0301",
    "<<<<< <SPECIAL_1> <SPECIAL_12> <SPECIAL_123> <SPECIAL_1234>",
]

# Not UTF-8: as Python decodes them with errors="replace".
BYTES = [
    b"\xff\xfe", b"a\x80b", b"caf\xe9 au lait", b"\xc3", b"\xe2\x82", b"\xe2\x82x", b"\xf0\x9f\x98",
    b"\xf0\x9f\x98\x80\xf0\x9f", b"\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf", b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"x\xe3\x81\x82\xe3\x81\xe3\x81\x84",
    bytes(range(128, 256)), b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf",
]

GPT2 = None  # the words of ByteLevel itself
WORDS_OF_QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                 r"|\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS_OF_NEMOTRON = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                     r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                     r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def special(content):
    return AddedToken(content, special=True, normalized=False)


def train(name, pre_tokenizer, added, normalizer=None, vocabulary=600, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    specials = [token for token in added if token.special]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.add_tokens([token for token in added if not token.special])
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return Tokenizer.from_str(text)


def byte_level(**fields):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "trim_offsets": False, **fields})


def split(expression, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(expression), behavior, invert)


def byte_level_tokenizers():
    chat = [special(token) for token in ("<unk>", "<|im_start|>", "<|im_end|>", "<image>", "<img>", "</img>")]
    numbered = [special(f"<SPECIAL_{i}>") for i in (1, 12, 123)]
    yield "gpt2", train("gpt2", byte_level(), [special("<|endoftext|>")])
    yield "nemotron", train(
        "nemotron", pre_tokenizers.Sequence([split(WORDS_OF_NEMOTRON), byte_level(use_regex=False)]),
        chat + numbered, ignore_merges=True)
    yield "qwen", train(
        "qwen", pre_tokenizers.Sequence([split(WORDS_OF_QWEN), byte_level(use_regex=False)]),
        [special("<|im_start|>"), special("<|im_end|>"), AddedToken("<left>", lstrip=True),
         AddedToken("<right>", rstrip=True), AddedToken("<both>", lstrip=True, rstrip=True),
         AddedToken("Word", single_word=True), AddedToken("\u03b1\u0301\u03b2", normalized=True),
         AddedToken("\n\n\n", normalized=False)],
        normalizer=normalizers.NFC())
    yield "digits", train(
        "digits", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                           byte_level(add_prefix_space=True)]), [])
    # What Split does with what it finds, and classes of characters.
    for name, stage in {
        "removed": split(r"\s+", "removed"),
        "inverted": split(r"\w+|\S", "removed", invert=True),
        "previous": split(r"[\p{P}\d]", "merged_with_previous"),
        "next": split(r"\W", "merged_with_next"),
        "contiguous": split(r"\p{Lu}|(?<=\p{Han})\p{Han}", "contiguous"),
        "literal": pre_tokenizers.Split(".", "isolated"),
        "empty": split(r"x*(?=[\u4e00-\u9fff])|\D{,3}?\d{2}", "isolated"),
    }.items():
        yield f"split_{name}", train(
            f"split_{name}", pre_tokenizers.Sequence([stage, byte_level(use_regex=False)]), [],
            vocabulary=280)


def sentencepiece_models():
    corpus = pathlib.Path("/tmp/hetero_sentencepiece.txt")
    corpus.write_text("\n".join(line.replace("\n", " ") for line in TRAINING), encoding="utf-8")
    symbols = ["<|im_start|>", "<|im_end|>", "<image>", "<img>", "</img>"]
    for name, fields in {
        "unigram": {"model_type": "unigram", "vocab_size": 500, "byte_fallback": False},
        "bpe": {"model_type": "bpe", "vocab_size": 700, "byte_fallback": True,
                "remove_extra_whitespaces": False, "user_defined_symbols": symbols},
    }.items():
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=f"/tmp/hetero_{name}", character_coverage=0.99,
            normalization_rule_name="identity", hard_vocab_limit=False, minloglevel=2,
            max_sentence_length=20000, **fields)
        model = pathlib.Path(f"/tmp/hetero_{name}.model").read_bytes()
        (OUT / f"{name}.model").write_bytes(model)
        yield name, sentencepiece.SentencePieceProcessor(model_proto=model)


# Written for this file. System turns are empty or not, contents have white space at their ends.
CONVERSATIONS = [
    [("system", ""), ("user", "hello"), ("assistant", "hi")],
    [("user", "What is in <image>?\n"), ("assistant", "Two ships, and 3 boats."), ("user", "Und dann?"),
     ("assistant", "  Ein Zug \U0001f682.\n\n")],
    [("system", "You see <image> and \u706b\u8eca."), ("user", "Write code:"),
     ("assistant", "int i = 0;\n\tfor (;;) {}\n")],
]

# ChatML; what assistants say is marked, from which transformers makes the mask.
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}{% else %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}")


def chat(file):
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(OUT / "nemotron.json"))
    for turns in CONVERSATIONS:
        encoded = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns], chat_template=TEMPLATE,
            return_dict=True, return_assistant_tokens_mask=True)
        for role, content in turns:
            file.write(f"turn {role} {content.encode().hex()}\n")
        file.write(f"ids {' '.join(map(str, encoded['input_ids']))}\n"
                   f"mask {' '.join(map(str, encoded['assistant_masks']))}\n")


def emit(file, name, encode, decode, texts):
    file.write(f"tokenizer {name}\n")
    for text in texts:
        ids = encode(text)
        decoded = decode(ids)
        decoded = decoded if isinstance(decoded, bytes) else decoded.encode()
        as_utf8 = text if isinstance(text, str) else text.decode("utf-8", "replace")
        shown = "=" if decoded == as_utf8.encode() else decoded.hex()
        file.write(f"ids {' '.join(map(str, ids))}\ndecoded {shown}\n")


def main():
    texts = TEXTS + BYTES
    with open(OUT / "expected.txt", "w", encoding="utf-8") as file:
        for text in texts:
            file.write(f"text {(text if isinstance(text, bytes) else text.encode()).hex()}\n")
        for name, tokenizer in byte_level_tokenizers():
            def encode(text):
                text = text if isinstance(text, str) else text.decode("utf-8", "replace")
                return tokenizer.encode(text, add_special_tokens=False).ids
            emit(file, f"{name}.json", encode, lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
                 TEXTS[:33] if name.startswith("split_") else texts)
        for name, tokenizer in sentencepiece_models():
            emit(file, f"{name}.model", tokenizer.encode, tokenizer.decode, texts)
    with open(OUT / "chat.txt", "w", encoding="utf-8") as file:
        chat(file)


main()
