// SPDX-License-Identifier: MIT
// npm's memjs, by the binary protocol. Arguments: the folder of node_modules, then servers. Ends with 0 if all is well.
"use strict";
const assert = require("assert");
const [folder, ...servers] = process.argv.slice(2);
const memjs = require(folder + "/memjs");

let checks = 0;
function check(what, got, wanted) {
  checks += 1;
  assert.deepStrictEqual(got, wanted, what);
}
const text = (answer) => (answer.value === null ? null : answer.value.toString());

async function main() {
  const client = memjs.Client.create(servers.join(","), { timeout: 20, conntimeout: 20, retries: 0 });
  const flushed = await client.flush();
  check("flush", Object.values(flushed).every((one) => one === true), true);
  check("get of nothing", text(await client.get("a")), null);
  check("set", await client.set("a", "one", { expires: 600 }), true);
  check("get", text(await client.get("a")), "one");
  check("add over something", await client.add("a", "two", {}), false);
  check("add", await client.add("b", "two", {}), true);
  check("replace", await client.replace("b", "three", {}), true);
  check("replace of nothing", await client.replace("none", "x", {}), false);
  check("get b", text(await client.get("b")), "three");
  check("append", await client.append("b", "!"), true);
  check("prepend", await client.prepend("b", ">"), true); // which memjs 1.3.2 sends as append
  check("get appended", text(await client.get("b")), "three!>");
  await assert.rejects(client.append("none", "x"), /not stored/);
  check("touch", await client.touch("b", 600), true);
  check("delete", await client.delete("b"), true);
  check("delete of nothing", await client.delete("b"), false);
  check("get deleted", text(await client.get("b")), null);
  check("increment makes it", (await client.increment("n", 5, { initial: 7 })).value, 7);
  check("increment", (await client.increment("n", 5, {})).value, 12);
  check("decrement", (await client.decrement("n", 100, {})).value, 0);
  const large = Buffer.alloc(700000, "0123456789abcdef\0");
  check("set large", await client.set("large", large, {}), true);
  check("get large", (await client.get("large")).value.equals(large), true);
  const many = [...Array(300).keys()];
  await Promise.all(many.map((i) => client.set("key" + i, "v".repeat(i + 1), {})));
  const found = await Promise.all(many.map((i) => client.get("key" + i)));
  check("many at once", found.map(text), many.map((i) => "v".repeat(i + 1)));
  client.quit();
  console.log(`${checks} checks`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
