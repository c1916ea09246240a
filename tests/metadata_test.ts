import { Metadata, type MetadataInit } from "@ttrpc/ttrpc";
import { deepEqual, equal, throws } from "node:assert/strict";

Deno.test("Metadata can be made of an object, of pairs and of other metadata", () => {
  const expected = [["a", "1"], ["b", "2"], ["b", "3"]];
  deepEqual([...new Metadata({ a: "1", B: ["2", "3"] })], expected);
  const pairs = new Metadata([["A", "1"], ["b", "2"], ["B", "3"]]);
  deepEqual([...pairs], expected);
  deepEqual([...new Metadata(pairs)], expected);
  deepEqual([...new Metadata(new Map([["X", "y"]]))], [["x", "y"]]);
  equal(new Metadata().size, 0);
});

Deno.test("Metadata gets, sets, appends and deletes in any case", () => {
  const metadata = new Metadata();
  metadata.append("Key", "1");
  metadata.append("other", "x");
  metadata.append("KEY", "2");
  equal(metadata.size, 3);
  equal(metadata.get("kEy"), "1");
  deepEqual(metadata.getAll("KeY"), ["1", "2"]);
  equal(metadata.get("none"), undefined);
  deepEqual(metadata.getAll("none"), []);
  equal(metadata.has("Other"), true);
  equal(metadata.has("none"), false);
  metadata.set("KEY", "3", "4");
  deepEqual([...metadata], [["other", "x"], ["key", "3"], ["key", "4"]]);
  equal(metadata.delete("Key"), true);
  equal(metadata.delete("Key"), false);
  metadata.set("other");
  equal(metadata.size, 0);
});

/** Not ASCII, but ASCII once folded by Unicode's rules; or the other way about; or with another case. */
const STRANGE = [
  "to\u212aen",
  "\u0130d",
  "\u017fession",
  "\u00c9tat",
  "\u03a3",
  "\ud801\udc00",
  "\uff21",
  "\ud800",
];

Deno.test("Metadata folds the letters of ASCII in keys, and no others", () => {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const others = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code))
    .filter((char) => !letters.includes(char));
  for (const key of [...others, ...STRANGE]) {
    deepEqual([...new Metadata([[key, "v"]])], [[key, "v"]]);
    deepEqual([...new Metadata([[`Aa-${key}-zZ`, "v"]])], [[`aa-${key}-zz`, "v"]]);
  }
  deepEqual([...new Metadata([[letters, "v"]])], [["abcdefghijklmnopqrstuvwxyz", "v"]]);
});

Deno.test("Metadata does not take a key that is not ASCII for one that is", () => {
  for (const key of STRANGE) {
    const before: [string, string][] = [[key.toLowerCase(), "folded"], ["other", "x"]];
    if (key === key.toLowerCase()) continue;
    const metadata = new Metadata(before);
    equal(metadata.get(key), undefined);
    deepEqual(metadata.getAll(key), []);
    equal(metadata.has(key), false);
    equal(metadata.delete(key), false);
    metadata.set(key, "own");
    deepEqual([...metadata], [...before, [key, "own"]]);
    metadata.append(key, "again");
    deepEqual(metadata.getAll(key), ["own", "again"]);
    equal(metadata.delete(key), true);
    deepEqual([...metadata], before);
  }
});

Deno.test("Metadata leaves values as they are, whatever is in them", () => {
  for (const value of ["", "Bearer ABC", ...STRANGE, "\0\r\n", "x".repeat(100_000)]) {
    const metadata = new Metadata({ Key: value });
    metadata.append("KEY", value);
    deepEqual(metadata.getAll("key"), [value, value]);
    deepEqual([...metadata.clone()], [["key", value], ["key", value]]);
  }
});

Deno.test("Metadata takes the keys of objects as they are called", () => {
  const metadata = new Metadata({ ["__proto__"]: "a", constructor: "b", toString: "c" });
  deepEqual([...metadata], [["__proto__", "a"], ["constructor", "b"], ["tostring", "c"]]);
  equal(new Metadata().has("constructor"), false);
});

Deno.test("Metadata keeps empty values, which are values", () => {
  const metadata = new Metadata({ a: "" });
  equal(metadata.get("a"), "");
  equal(metadata.has("a"), true);
});

Deno.test("Metadata.clone() changes independently", () => {
  const metadata = new Metadata({ a: "1" });
  const clone = metadata.clone();
  clone.append("a", "2");
  deepEqual([metadata.getAll("a"), clone.getAll("a")], [["1"], ["1", "2"]]);
});

Deno.test("Metadata made of other metadata changes independently, in every way", () => {
  const changes: ((metadata: Metadata) => void)[] = [
    (metadata) => metadata.append("a", "3"),
    (metadata) => metadata.set("a", "3"),
    (metadata) => metadata.delete("a"),
  ];
  for (const copy of [(from: Metadata) => from.clone(), (from: Metadata) => new Metadata(from)]) {
    for (const change of changes) {
      const metadata = new Metadata({ a: "1", b: "2" });
      const copied = copy(metadata);
      change(metadata);
      deepEqual([...copied], [["a", "1"], ["b", "2"]]);
      const again = copy(copied);
      change(copied);
      deepEqual([...again], [["a", "1"], ["b", "2"]]);
    }
  }
});

Deno.test("Metadata keeps what a key has when it is set to what is no string", () => {
  const metadata = new Metadata({ a: ["1", "2"] });
  throws(() => metadata.set("a", "3", 4 as unknown as string), TypeError);
  deepEqual([...metadata], [["a", "1"], ["a", "2"]]);
});

Deno.test("Metadata's pairs cannot be changed from outside", () => {
  const metadata = new Metadata({ a: "1" });
  for (const pair of metadata) pair[1] = "changed";
  equal(metadata.get("a"), "1");
});

Deno.test("Metadata refuses what is not a string, by the name of the key", () => {
  for (const init of [{ "x-n": 1 }, { "x-n": [1] }, [["x-n", null]]]) {
    throws(() => new Metadata(init as unknown as MetadataInit), {
      name: "TypeError",
      message: "Cannot add x-n to metadata: keys and values must be strings",
    });
  }
});

Deno.test("Metadata refuses a key that is not a string", () => {
  throws(() => new Metadata([[1, "x"]] as unknown as MetadataInit), {
    name: "TypeError",
    message: "Cannot add 1 to metadata: keys and values must be strings",
  });
});

Deno.test("Metadata shows its pairs when it is inspected", () => {
  equal(Deno.inspect(new Metadata({ a: "1" })), `Metadata [ [ "a", "1" ] ]`);
});

Deno.test("Metadata folds the letters of ASCII, and no others", () => {
  const kelvin = "\u212a"; // folds to "k" by Unicode's rules
  const metadata = new Metadata([["KEY", "1"], [`${kelvin}ey`, "2"], ["ÄÖÜ", "3"], ["İ", "4"]]);
  deepEqual([...metadata], [["key", "1"], [`${kelvin}ey`, "2"], ["ÄÖÜ", "3"], ["İ", "4"]]);
  deepEqual(metadata.getAll("Key"), ["1"]);
  equal(metadata.get(`${kelvin}EY`), "2");
  equal(metadata.has("äöü"), false);
  metadata.set("İ", "5");
  equal(metadata.delete("ÄÖÜ"), true);
  deepEqual([...metadata].map(([, value]) => value), ["1", "2", "5"]);
});
