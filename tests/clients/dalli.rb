# SPDX-License-Identifier: MIT
# Ruby's Dalli, by the binary protocol. Arguments: servers. Ends with 0 if all is as it should be.
require "dalli"

$checks = 0

def check(what, got, wanted)
  $checks += 1
  abort "#{what}: expected #{wanted.inspect}, got #{got.inspect}" unless got == wanted
end

client = Dalli::Client.new(ARGV, protocol: :binary, socket_timeout: 20)
check "flush", client.flush.all?, true
check "get of nothing", client.get("a"), nil
check "set", client.set("a", { "x" => [1, nil] }) ? true : false, true
check "get", client.get("a"), { "x" => [1, nil] }
check "add over something", client.add("a", 1) ? true : false, false
check "add", client.add("b", 1) ? true : false, true
check "replace", client.replace("b", "two") ? true : false, true
client.replace("none", 1)
check "replace of nothing", client.get("none"), nil
check "get b", client.get("b"), "two"
check "delete", client.delete("b") ? true : false, true
check "delete of nothing", client.delete("b") ? true : false, false
check "set raw", client.set("raw", "mid", 0, raw: true) ? true : false, true
check "append", client.append("raw", "end") ? true : false, true
check "prepend", client.prepend("raw", "start") ? true : false, true
check "get raw", client.get("raw", raw: true), "startmidend"
check "incr of nothing", client.incr("n"), nil
check "incr makes it", client.incr("n", 5, 0, 7), 7
check "incr", client.incr("n", 5), 12
check "decr", client.decr("n", 100), 0
big = Random.new(1).bytes(700_000)
check "set large", client.set("big", big, 0, raw: true) ? true : false, true
check "get large", client.get("big", raw: true), big
many = (0...300).to_h { |number| ["key#{number}", "v" * number] }
client.multi { many.each { |key, value| client.set(key, value) } }
check "get_multi", client.get_multi(*many.keys, "none"), many
check "cas", client.cas("a") { |old| old.merge("y" => 2) } ? true : false, true
check "get after cas", client.get("a"), { "x" => [1, nil], "y" => 2 }
check "cas of nothing", client.cas("none") { 1 }, nil
check "touch", client.touch("a", 100) ? true : false, true
check "touch of nothing", client.touch("none", 100) ? true : false, false
check "gat", client.gat("a", 100), { "x" => [1, nil], "y" => 2 }
check "stats", client.stats.values.all? { |one| one["version"].start_with?("1.6.") }, true
check "version", client.version.values.all? { |one| one.start_with?("1.6.") }, true
check "flush at the end", client.flush.all?, true
check "get after flush", client.get("a"), nil
puts "#{$checks} checks"
