"""Makes the pictures beside it and pixels.json, what Pillow (9.4) reads from them. Not needed to run the tests.

Every picture shows the same small drawing; its name says how it is stored. Only what Pillow cannot write (16 bits with alpha,
interlaced rows) is written here by hand.
"""
import hashlib
import io
import json
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

here = os.path.dirname(os.path.abspath(__file__))
H, W = 13, 21
y, x = np.mgrid[0:H, 0:W]
rgb = np.stack([(x * 12) % 256, (y * 19 + x * 3) % 256, (255 - x * 5 - y * 7) % 256], axis=2).astype(np.uint8)
alpha = ((x * 31 + y * 17) % 256).astype(np.uint8)
grey = rgb[..., 0]
expected = {}


def png(array, color, depth, interlaced=False, extra=()):
    """A PNG of [h, w, samples] integers, filter types in turn."""
    h, w, samples = array.shape
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    raw = b""
    for px, py, dx, dy in passes:
        part = array[py::dy, px::dx]
        if part.size == 0:
            continue
        before = None
        step = max(1, samples * depth // 8)
        for i, row in enumerate(part):
            bits = "".join(format(int(v), f"0{depth}b") for v in row.reshape(-1))
            data = bytes(int(bits[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(bits), 8))
            kind = i % 5
            up = before or bytes(len(data))
            out = bytearray()
            for k, byte in enumerate(data):
                a, b, c = (data[k - step] if k >= step else 0), up[k], (up[k - step] if k >= step else 0)
                p = a + b - c
                paeth = min(((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c)))[2]
                out.append((byte - [0, a, b, (a + b) // 2, paeth][kind]) & 255)
            raw += bytes([kind]) + bytes(out)
            before = data

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlaced)))
    body = zlib.compress(raw)
    parts = [chunk(b"IDAT", body[: len(body) // 2]), chunk(b"IDAT", body[len(body) // 2 :])]
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*e) for e in extra) + b"".join(parts) + chunk(b"IEND", b"")


def store(name, data, pixels=None):
    """Writes a file and notes its pixels, by Pillow unless given."""
    with open(os.path.join(here, name), "wb") as f:
        f.write(data)
    if pixels is None:
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    expected[name] = {"height": pixels.shape[0], "width": pixels.shape[1], "md5": hashlib.md5(np.ascontiguousarray(pixels).tobytes()).hexdigest()}


def save(name, image, **options):
    data = io.BytesIO()
    image.save(data, name.rsplit(".", 1)[1].replace("jpg", "jpeg"), **options)
    store(name, data.getvalue())


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


picture = Image.fromarray(rgb)
save("rgb-420.jpg", picture, quality=90)
save("rgb-444.jpg", picture, quality=95, subsampling=0)
save("progressive.jpg", picture, quality=90, progressive=True)
save("grey.jpg", Image.fromarray(grey), quality=90)
save("cmyk.jpg", picture.convert("CMYK"), quality=95)
for orientation in range(1, 9):
    save(f"exif-{orientation}.jpg", picture, quality=90, exif=exif(orientation))
save("exif-6.png", picture, exif=exif(6))
save("exif-8.webp", picture, lossless=True, exif=exif(8))
save("rgb.png", picture)
save("rgba.png", Image.fromarray(np.dstack([rgb, alpha])))
save("grey-alpha.png", Image.fromarray(np.dstack([grey, alpha]), "LA"))
save("palette.png", picture.quantize(13))
save("palette-transparent.png", picture.quantize(200), transparency=3)
save("one-bit.png", Image.fromarray(grey).convert("1"))
store("grey-2.png", png((grey >> 6)[..., None], 0, 2))
store("grey-4.png", png((grey >> 4)[..., None], 0, 4))
store("palette-4.png", png((grey >> 4)[..., None], 3, 4, extra=[(b"PLTE", rgb.reshape(-1, 3)[:48:3].tobytes())]))
wide = rgb.astype(np.int64) * 256 + np.roll(rgb, 1, axis=0)
store("rgb-16.png", png(wide, 2, 16))
store("rgba-16.png", png(np.dstack([wide, alpha.astype(np.int64) * 257]), 6, 16))
store("grey-16.png", png(wide[..., :1], 0, 16), np.repeat(rgb[..., :1], 3, axis=2))  # Pillow clips these to white
store("interlaced.png", png(rgb.astype(np.int64), 2, 8, interlaced=True))
store("interlaced-one-bit.png", png((grey >> 7)[..., None], 0, 1, interlaced=True))
save("lossy.webp", picture, quality=80)
save("lossless.webp", picture, lossless=True)
save("alpha.webp", Image.fromarray(np.dstack([rgb, alpha])), quality=80)
save("animated.webp", picture, save_all=True, append_images=[ImageOps.invert(picture)], lossless=True)

with open(os.path.join(here, "pixels.json"), "w") as f:
    json.dump(expected, f, indent=2)
    f.write("\n")
