<?php
// SPDX-License-Identifier: MIT
//
// php-memcached by the text protocol against the servers named as arguments (port, or path of a unix socket). TAP.

$tests = 0;
$failed = 0;

function check($good, string $name): void {
    global $tests, $failed;
    $tests++;
    $failed += $good ? 0 : 1;
    echo $good ? 'ok' : 'not ok', " $tests - $name\n";
}

function client(array $servers): Memcached {
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, false);
    $client->setOption(Memcached::OPT_COMPRESSION, false);
    $client->setOption(Memcached::OPT_TCP_NODELAY, true);
    foreach ($servers as $server) {
        $client->addServer($server[0] === '/' ? $server : '127.0.0.1', $server[0] === '/' ? 0 : (int)$server);
    }
    return $client;
}

$servers = array_slice($argv, 1);
$one = client([$servers[0]]);

// One key.
check($one->get('a') === false && $one->getResultCode() === Memcached::RES_NOTFOUND, 'a miss');
check($one->set('a', 'value'), 'set');
check($one->get('a') === 'value', 'get gives what was set');
check($one->set('a', ''), 'set of nothing');
check($one->get('a') === '', 'get of nothing');
check($one->delete('a'), 'delete');
check(!$one->delete('a') && $one->getResultCode() === Memcached::RES_NOTFOUND, 'delete of what is gone');

// Modes.
check($one->add('m', '1'), 'add');
check(!$one->add('m', '2') && $one->getResultCode() === Memcached::RES_NOTSTORED, 'add over something');
check($one->replace('m', '3'), 'replace');
check(!$one->replace('none', '3'), 'replace of nothing');
check($one->append('m', 'end'), 'append');
check($one->prepend('m', 'begin'), 'prepend');
check($one->get('m') === 'begin3end', 'both ends');
check(!$one->append('none', 'x') && $one->getResultCode() === Memcached::RES_NOTSTORED, 'append to nothing');

// Types.
foreach ([12, -1, 2.5, true, false, [1, 'two' => [3]], "text \r\n é", PHP_INT_MAX] as $number => $value) {
    check($one->set('t', $value) && $one->get('t') === $value, "a value of type $number");
}

// Arithmetic.
check($one->increment('n') === false, 'increment of nothing');
$one->set('n', 98);
check($one->increment('n') === 99, 'increment');
check($one->increment('n', 2) === 101, 'increment by two');
check($one->decrement('n', 100) === 1, 'decrement');
check($one->decrement('n', 100) === 0, 'decrement stops at zero');

// cas.
$one->set('c', 'one');
$held = $one->get('c', null, Memcached::GET_EXTENDED);
check($held['value'] === 'one' && $held['cas'] > 0, 'get with its unique');
check($one->cas($held['cas'], 'c', 'two'), 'cas of the unchanged');
check(!$one->cas($held['cas'], 'c', 'three') && $one->getResultCode() === Memcached::RES_DATA_EXISTS, 'cas of the changed');
check(!$one->cas($held['cas'], 'none', 'x') && $one->getResultCode() === Memcached::RES_NOTFOUND, 'cas of the missing');
check($one->get('c') === 'two', 'the first cas holds');

// Touch and expiry.
$one->set('e', 'x', 100);
check($one->touch('e', 1), 'touch');
check(!$one->touch('none', 1), 'touch of nothing');
$end = microtime(true) + 10;
while ($one->get('e') !== false && microtime(true) < $end) {
    usleep(50000);
}
check($one->get('e') === false, 'expired');

// Bytes and sizes.
$bytes = implode('', array_map('chr', range(0, 255)));
foreach ([1, 255, 4096, 70000, 500000, 1040000] as $size) {
    $value = substr(str_repeat($bytes, intdiv($size, 256) + 1), 0, $size);
    check($one->set("s$size", $value) && hash('sha256', $one->get("s$size")) === hash('sha256', $value), "$size bytes");
}
check(!$one->set('l', str_repeat('x', 1 << 20)), 'too large a value');
check($one->get('c') === 'two', 'the connection is in step');

// Many keys over all servers.
$many = client($servers);
$values = [];
for ($i = 1; $i <= 400; $i++) {
    $values["key$i"] = "value $i " . str_repeat('x', $i);
}
check($many->setMulti($values), 'setMulti of 400 keys');
check($many->getMulti(array_merge(array_keys($values), ['none']), Memcached::GET_PRESERVE_ORDER) === $values + ['none' => null],
      'getMulti of 400 keys and a miss');
$many->getDelayed(array_keys($values), true);
$delayed = $many->fetchAll();
$unique = array_unique(array_column($delayed, 'cas'));
check(count($delayed) === 400, 'getDelayed of 400 keys with their uniques');
check(count($servers) > 1 || count($unique) === 400, 'no unique is given twice');
$stats = $many->getStats();
check(count($stats) === count($servers), 'stats of all servers');
check(min(array_column($stats, 'curr_items')) > 0, 'every server has some');
foreach ($many->getVersion() as $version) {
    check(preg_match('/^1\.6\.\d+/', $version) === 1, 'version');
}
check(array_sum($many->deleteMulti(array_slice(array_keys($values), 0, 200))) === 200, 'deleteMulti');
check(count($many->getMulti(array_keys($values))) === 200, 'the other half is left');
check($many->flush(), 'flush');
check($many->getMulti(array_keys($values)) === [], 'nothing is left');

echo "1..$tests\n";
exit($failed ? 1 : 0);
