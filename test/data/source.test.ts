import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openImages } from "../../src/data/open.ts";
import { packedSource, readPicture, subset } from "../../src/data/source.ts";
import { fill } from "../fill.ts";

const root = mkdtempSync(join(tmpdir(), "autodidact-source-"));
const picture = (name: string) => readFileSync(new URL(`pictures/${name}`, import.meta.url));

function put(path: string, bytes: Uint8Array | string = picture("rgb.png")): string {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), bytes);
  return join(root, path);
}

async function refusal(path: string): Promise<string> {
  try {
    await openImages(path);
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
}

const names = (source: { length: number; name(i: number): string }) => Array.from({ length: source.length }, (_, i) => source.name(i));

const sources = suite("source");

sources("a folder's pictures come by name, and its first sub-folders are the classes", async () => {
  for (const path of ["dog/b.png", "dog/a.JPG", "cat/deep/er/z.webp", "cat/notes.txt", "cat/.hidden.png", "empty/readme.md"])
    put(`classes/${path}`);
  const source = await openImages(join(root, "classes"));
  assert.equal(names(source), ["cat/deep/er/z.webp", "dog/a.JPG", "dog/b.png"]);
  assert.equal(source.classes, ["cat", "dog"]);
  assert.equal([...(source.labels as Int32Array)], [0, 1, 1]);
  assert.is(readPicture(source, 2).width, 21);
});

sources("pictures beside sub-folders mean that there are no classes", async () => {
  put("mixed/a.png");
  put("mixed/more/b.png");
  const source = await openImages(join(root, "mixed"));
  assert.is(source.length, 2);
  assert.is(source.labels, undefined);
});

sources("links are followed, circles are not", async () => {
  put("linked/a.png");
  symlinkSync(join(root, "linked"), join(root, "linked/again"));
  assert.equal(names(await openImages(join(root, "linked"))), ["a.png"]);
});

sources("the fingerprint changes when a picture does", async () => {
  put("print/a.png");
  const first = (await openImages(join(root, "print"))).fingerprint;
  assert.is((await openImages(join(root, "print"))).fingerprint, first);
  put("print/a.png", picture("grey.jpg"));
  assert.is.not((await openImages(join(root, "print"))).fingerprint, first);
});

sources("a list names a path a line, and after a tab the class", async () => {
  put("lists/pictures/a.png");
  const plain = await openImages(put("lists/plain.txt", "pictures/a.png\n\npictures/b.png\r\n"));
  assert.equal(names(plain), ["pictures/a.png", "pictures/b.png"]);
  assert.is(plain.labels, undefined);
  assert.is(readPicture(plain, 0).height, 13);
  assert.throws(() => readPicture(plain, 1), /b\.png: no such file$/);
  const labelled = await openImages(put("lists/labelled.txt", "pictures/a.png\tdog\npictures/b.png\tcat\n"));
  assert.equal(labelled.classes, ["cat", "dog"]);
  assert.equal([...(labelled.labels as Int32Array)], [1, 0]);
});

/** Records of `labels`, and pixels that tell their place. */
function cifar(labels: number[][]): Uint8Array {
  const records = labels.map((label, n) => [
    ...label,
    ...Array.from({ length: 3072 }, (_, i) => (n * 50 + Math.floor(i / 1024) * 10 + (i % 7)) & 255),
  ]);
  return Uint8Array.from(records.flat());
}

sources("CIFAR-10 records become pictures, labels and class names", async () => {
  put("cifar/data_batch_2.bin", cifar([[7]]));
  put("cifar/data_batch_1.bin", cifar([[3], [9]]));
  put("cifar/test_batch.bin", cifar([[1]]));
  put("cifar/batches.meta.txt", "airplane\nautomobile\n");
  const train = await openImages(join(root, "cifar"));
  assert.equal([...(train.labels as Int32Array)], [3, 9, 7]);
  assert.equal(train.classes?.slice(0, 3), ["airplane", "automobile", "2"]);
  const { width, height, data } = readPicture(train, 1);
  assert.equal([width, height, ...data.subarray(0, 6)], [32, 32, 50, 62, 74, 51, 63, 75]);
  assert.equal([...((await openImages(join(root, "cifar/test_batch.bin"))).labels as Int32Array)], [1]);
});

sources("CIFAR-100 records carry a coarse and a fine label, and the fine one counts", async () => {
  const source = await openImages(put("cifar100/train.bin", cifar([[19, 99]])));
  assert.equal([source.classes?.length, ...(source.labels as Int32Array)], [100, 99]);
});

sources("a CIFAR file cut short is refused", async () => {
  assert.match(
    await refusal(put("cut/data_batch_1.bin", cifar([[3], [9]]).subarray(0, 5000))),
    /^Cannot read ".*data_batch_1\.bin" as CIFAR: 5000 bytes/,
  );
});

const idx = (magic: number, sizes: number[], data: number[]): Buffer => {
  const head = Buffer.alloc(4 + 4 * sizes.length);
  [magic, ...sizes].forEach((value, i) => head.writeUInt32BE(value, 4 * i));
  return Buffer.concat([head, Buffer.from(data)]);
};

sources("IDX pictures, plain or compressed, find the labels beside them", async () => {
  const pixels = Array.from({ length: 2 * 3 * 4 }, (_, i) => i * 9);
  put("idx/t10k-images-idx3-ubyte", idx(0x803, [1, 3, 4], pixels.slice(12)));
  put("idx/train-images-idx3-ubyte.gz", gzipSync(idx(0x803, [2, 3, 4], pixels)));
  put("idx/train-labels-idx1-ubyte", idx(0x801, [2], [4, 1]));
  const source = await openImages(join(root, "idx"));
  assert.equal([...(source.labels as Int32Array)], [4, 1]);
  const { width, height, data } = readPicture(source, 1);
  assert.equal([width, height, ...data.subarray(0, 6)], [4, 3, 108, 108, 108, 117, 117, 117]);
  assert.is((await openImages(join(root, "idx/t10k-images-idx3-ubyte"))).labels, undefined);
});

sources("an IDX file cut short is refused", async () => {
  assert.match(
    await refusal(put("cut/x-images-idx3-ubyte", idx(0x803, [2, 3, 4], [1, 2, 3]))),
    /expected 24 bytes for sizes 2 x 3 x 4, got 3$/,
  );
});

/** A tar file; names of more than 100 characters take a GNU long-name member. */
function tar(files: [name: string, bytes: Uint8Array][]): Buffer {
  const block = (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 511)]);
  const member = (name: string, bytes: Uint8Array, type: string): Buffer => {
    const head = Buffer.alloc(512);
    head.write(name.slice(0, 100), 0);
    head.write(bytes.length.toString(8).padStart(11, "0"), 124);
    head.write("        ", 148);
    head.write(type, 156);
    head.write("ustar\x0000", 257);
    head.write(
      head
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, "0"),
      148,
    );
    return Buffer.concat([head, block(bytes)]);
  };
  const parts = files.flatMap(([name, bytes]) => [
    ...(name.length > 100 ? [member("@", Buffer.from(name), "L")] : []),
    member(name, bytes, "0"),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

sources("WebDataset shards are read in order, with the labels of .cls members", async () => {
  const long = `${"d/".repeat(60)}long`;
  put(
    "shards/train-1.tar",
    tar([
      ["x/2.jpg", picture("grey.jpg")],
      ["x/2.cls", Buffer.from("5")],
    ]),
  );
  const first: [string, Uint8Array][] = [
    ["x/0.json", Buffer.from("{}")],
    ["x/0.png", picture("rgb.png")],
    ["x/0.cls", Buffer.from("3\n")],
    [`${long}.webp`, picture("lossy.webp")],
    [`${long}.cls`, Buffer.from("0")],
  ];
  put("shards/train-0.tar", tar(first));
  const source = await openImages(join(root, "shards"));
  assert.equal(names(source), ["train-0.tar/x/0.png", `train-0.tar/${long}.webp`, "train-1.tar/x/2.jpg"]);
  assert.equal([...(source.labels as Int32Array)], [3, 0, 5]);
  for (let i = 0; i < 3; i++) assert.equal([readPicture(source, i).width, readPicture(source, i).height], [21, 13]);
  assert.is((await openImages(put("shards-unlabelled/a.tar", tar(first.slice(0, 2))))).labels, undefined);
});

sources("a shard cut short or damaged is refused", async () => {
  const whole = tar([["0.jpg", picture("grey.jpg")]]);
  assert.match(await refusal(put("cut/short.tar", whole.subarray(0, 700))), /the tar file is truncated at byte 700$/);
  whole[130] ^= 1;
  assert.match(await refusal(put("cut/damaged.tar", whole)), /^Cannot read ".*damaged\.tar" as tar: no member begins at byte 0$/);
});

sources("a single picture is a source of one", async () => {
  const source = await openImages(put("one/a.png"));
  assert.equal([source.length, source.name(0), readPicture(source, 0).width], [1, "a.png", 21]);
});

sources("what is not there or holds no pictures is refused, with what was looked for", async () => {
  assert.match(await refusal(join(root, "nowhere")), /^Cannot open images at ".*nowhere": no such file or folder$/);
  put("words/a.txt", "a");
  put("words/b.gif", "b");
  put("words/more/c.txt", "c");
  assert.match(await refusal(join(root, "words")), /^Cannot find images in ".*words": looked for \.jpg .*; found 2 \.txt, 1 \.gif$/);
  mkdirSync(join(root, "nothing"));
  assert.match(await refusal(join(root, "nothing")), /found no files$/);
  assert.match(await refusal(put("words/d.pdf", "%PDF")), /^Cannot open ".*d\.pdf": it is not a picture; looked for/);
});

sources("a subset keeps names, labels and pixels of what it chose", () => {
  const data = Uint8Array.from(fill("subset", [4, 2, 2, 3], "unit").data, (u) => Math.floor(256 * u));
  const source = packedSource({ width: 2, height: 2, data, labels: Int32Array.of(0, 1, 2, 3), classes: ["a", "b", "c", "d"] });
  const some = subset(source, [3, 1]);
  assert.equal(
    [names(some), [...(some.labels as Int32Array)]],
    [
      ["3", "1"],
      [3, 1],
    ],
  );
  assert.equal([...readPicture(some, 1).data], [...data.subarray(12, 24)]);
  assert.is.not(some.fingerprint, source.fingerprint);
});

sources.after(() => rmSync(root, { recursive: true }));
sources.run();
