"""Makes google.png, twitter.png and emoji.json of src/demo/emoji from the drawings that two npm packages carry.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python3 test/demo/make_emoji.py emoji-datasource-google-16.0.0.tgz emoji-datasource-twitter-16.0.0.tgz

Takes every emoji that both vendors have drawn, without variants of skin colour, in Unicode's order. Each 64 x 64 drawing is
put on white and halved by the mean of 2 x 2 pixels. Needs Pillow. The README beside the pictures names authors and licences.
"""

import io
import json
import math
import sys
import tarfile
from pathlib import Path

from PIL import Image

SIDE = 32
COLUMNS = 48
HERE = Path(__file__).parents[2] / "src" / "demo" / "emoji"


def read(archive, name):
    return archive.extractfile(f"package/{name}").read()


def drawing(archive, vendor, file):
    """One drawing, [SIDE, SIDE] RGB."""
    picture = Image.open(io.BytesIO(read(archive, f"img/{vendor}/64/{file}"))).convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB").resize((SIDE, SIDE), Image.BOX)


def sheet(archive, vendor, entries):
    """All drawings, COLUMNS in a row."""
    whole = Image.new("RGB", (COLUMNS * SIDE, math.ceil(len(entries) / COLUMNS) * SIDE), "white")
    for i, entry in enumerate(entries):
        whole.paste(drawing(archive, vendor, entry["image"]), (i % COLUMNS * SIDE, i // COLUMNS * SIDE))
    return whole


def main(google, twitter):
    archives = {"google": tarfile.open(google), "twitter": tarfile.open(twitter)}
    entries = json.loads(read(archives["google"], "emoji.json"))
    entries = sorted((e for e in entries if e["has_img_google"] and e["has_img_twitter"]), key=lambda e: e["sort_order"])
    for vendor, archive in archives.items():
        sheet(archive, vendor, entries).save(HERE / f"{vendor}.png", optimize=True)
    rows = [json.dumps([e["image"][:-4], e["category"], e["name"].lower()], ensure_ascii=False) for e in entries]
    head = f'"side": {SIDE}, "columns": {COLUMNS}, "emoji": [\n'
    (HERE / "emoji.json").write_text("{" + head + ",\n".join(rows) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
