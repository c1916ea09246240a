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

Deno.test("Metadata's pairs cannot be changed from outside", () => {
  const metadata = new Metadata({ a: "1" });
  for (const pair of metadata) pair[1] = "changed";
  equal(metadata.get("a"), "1");
});

Deno.test("Metadata refuses what is not a string, by the name of the key", () => {
  for (const init of [{ "x-n": 1 }, { "x-n": [1] }, [["x-n", null]]]) {
    throws(() => new Metadata(init as unknown as MetadataInit), {
      name: "TypeError",
      message: "Cannot add x-n to metadata: keys and values are strings",
    });
  }
});

Deno.test("Metadata refuses a key that is not a string", () => {
  throws(() => new Metadata([[1, "x"]] as unknown as MetadataInit), {
    name: "TypeError",
    message: "Cannot add 1 to metadata: keys and values are strings",
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
