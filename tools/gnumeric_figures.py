"""Makes a data set of real images and texts: the figures of Gnumeric's manual with their titles.

    sudo apt-get install gnumeric-doc
    python3 tools/gnumeric_figures.py /tmp/figures

Figures are screenshots and plots, a title has one line, and the longer description of a figure, where
the manual has one, is what an assistant says of it:

    0003.png   the figure
    0003.txt   its title
    0003.json  {"conversation": [a user's turn that shows and asks, the assistant's description]}

Shards are a-00.tar to a-03.tar; every eighth figure is in val.tar. dataset.yaml beside them is of the
captions, conversations.yaml of the conversations: what `dataset_check --prepare --samples` takes.
"""

import argparse
import io
import json
import pathlib
import re
import tarfile
import xml.etree.ElementTree as ElementTree

MANUAL = pathlib.Path("/usr/share/help/C/gnumeric")
SHARDS = 4
QUESTION = "What does this figure of a spreadsheet's manual show?"
CAPTIONS = """sample_type: {__module__: megatron.energon, __class__: CaptioningSample}
field_map: {image: png, caption: txt}
"""
CONVERSATIONS = """__module__: megatron.energon
__class__: CrudeWebdataset
"""


def entities(manual):
    """The texts that the manual's files name as &name;."""
    text = (manual / "gnumeric.xml").read_text(encoding="utf-8")
    return dict(re.findall(r'<!ENTITY\s+(\w[\w.-]*)\s+"([^"]*)"', text))


def expand(text, names):
    """`text` with the manual's entities in place; those of XML itself stay."""
    known = {"amp", "lt", "gt", "quot", "apos"}
    return re.sub(r"&(\w[\w.-]*);",
                  lambda found: names.get(found[1], found[0]) if found[1] not in known else found[0],
                  text)


def words(element):
    return " ".join("".join(element.itertext()).split()) if element is not None else ""


def figures(manual):
    """Pairs of file, title and description, in the order of the manual's files."""
    names = entities(manual)
    seen = set()
    for path in sorted(manual.glob("*.xml")):
        text = re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.S)
        for block in re.findall(r"<figure\b.*?</figure>", text, flags=re.S):
            try:
                figure = ElementTree.fromstring(expand(block, names))
            except ElementTree.ParseError:
                continue  # a tag that a file does not close
            image = figure.find(".//imagedata")
            title = words(figure.find("title"))
            if image is None or not title:
                continue
            file = manual / image.get("fileref", "")
            if file.suffix != ".png" or not file.is_file() or file in seen:
                continue
            seen.add(file)
            yield file, title, words(figure.find(".//textobject"))


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write(manual, output):
    output.mkdir(parents=True, exist_ok=True)
    names = [f"a-{shard:02d}.tar" for shard in range(SHARDS)] + ["val.tar"]
    tars = [tarfile.open(output / name, "w", format=tarfile.USTAR_FORMAT) for name in names]
    count = 0
    for file, title, description in figures(manual):
        tar = tars[SHARDS] if count % 8 == 7 else tars[count % 8 % SHARDS]
        says = [("user", [("image", "png"), ("text", QUESTION)]),
                ("assistant", [("text", description or title)])]
        conversation = [{"sender": sender,
                         "fragments": [{"t": kind, "value": value} for kind, value in fragments]}
                        for sender, fragments in says]
        add(tar, f"{count:04d}.png", file.read_bytes())
        add(tar, f"{count:04d}.txt", title.encode())
        add(tar, f"{count:04d}.json", json.dumps({"conversation": conversation}).encode())
        count += 1
    for tar in tars:
        tar.close()
    (output / "dataset.yaml").write_text(CAPTIONS)
    (output / "conversations.yaml").write_text(CONVERSATIONS)
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="folder for the shards")
    parser.add_argument("--manual", type=pathlib.Path, default=MANUAL,
                        help="folder of the manual's files")
    arguments = parser.parse_args()
    if not (arguments.manual / "gnumeric.xml").is_file():
        raise SystemExit(f"no manual in {arguments.manual}: sudo apt-get install gnumeric-doc, or "
                         "set --manual")
    count = write(arguments.manual, arguments.output)
    if count == 0:
        raise SystemExit(f"the manual in {arguments.manual} has no figures with titles")
    print(f"{count} figures in {arguments.output}")


if __name__ == "__main__":
    main()
