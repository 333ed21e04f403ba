#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Cache::Memcached against the servers named as arguments (host:port, or the path of a unix socket). Prints TAP.
use strict;
use warnings;
use Cache::Memcached;
use Digest::SHA qw(sha256_hex);
use Test::More;

my @servers = @ARGV;

sub client {
    my $client = Cache::Memcached->new({ servers => [@_], compress_threshold => 0, debug => 0 });
    $client->enable_compress(0);
    return $client;
}

my $one = client($servers[0]);

# One key.
is($one->get('a'), undef, 'a miss is undef');
ok($one->set('a', 'value'), 'set');
is($one->get('a'), 'value', 'get gives what was set');
ok($one->set('a', ''), 'set of nothing');
is($one->get('a'), '', 'get of nothing');
ok($one->delete('a'), 'delete');
ok(!$one->delete('a'), 'delete of what is gone');
is($one->get('a'), undef, 'gone');

# Modes.
ok($one->add('m', 1), 'add');
ok(!$one->add('m', 2), 'add over something');
ok($one->replace('m', 3), 'replace');
ok(!$one->replace('none', 3), 'replace of nothing');
is($one->get('m'), 3, 'the last that was stored');
ok($one->append('m', 'end'), 'append');
ok($one->prepend('m', 'begin'), 'prepend');
is($one->get('m'), 'begin3end', 'both ends');

# Arithmetic.
ok(!defined $one->incr('n') || $one->incr('n') eq '', 'incr of nothing');
$one->set('n', 98);
is($one->incr('n'), 99, 'incr');
is($one->incr('n', 2), 101, 'incr by two');
is($one->decr('n', 100), 1, 'decr');
is($one->decr('n', 100), 0, 'decr stops at zero');

$one->set('c', 'two');  # for later: this client has no cas

# Expiry.
ok($one->set('e', 'x', 1), 'set with expiry');
my $end = time + 10;
select(undef, undef, undef, 0.05) while defined $one->get('e') && time < $end;
is($one->get('e'), undef, 'expired');

# Objects by Storable, flags kept.
my $object = { list => [ 1 .. 50 ], text => "two\r\nlines", nested => { a => undef } };
ok($one->set('o', $object), 'set of an object');
is_deeply($one->get('o'), $object, 'the same object');

# Bytes and sizes.
my $bytes = join '', map { chr } 0 .. 255;
for my $size (1, 255, 4096, 70_000, 500_000, 1_040_000) {
    my $value = substr($bytes x (1 + $size / 256), 0, $size);
    ok($one->set("s$size", $value), "set of $size bytes");
    is(sha256_hex($one->get("s$size") // ''), sha256_hex($value), "get of $size bytes");
}

# Too large; the connection lives on.
ok(!$one->set('l', 'x' x (1 << 20)), 'too large a value');
is($one->get('c'), 'two', 'the connection is in step');

# Many keys over all servers.
my $many = client(@servers);
my %values = map { ("key$_" => "value $_ " . ('x' x $_)) } 1 .. 400;
my $stored = grep { $many->set($_, $values{$_}) } keys %values;
is($stored, 400, 'set of 400 keys');
is_deeply($many->get_multi(keys %values, 'none'), \%values, 'get_multi of 400 keys and a miss');
my $stats = $many->stats('misc');
my @filled = grep { ($stats->{hosts}{$_}{misc}{curr_items} // 0) > 0 } @servers;
is(scalar @filled, scalar @servers, 'every server has some');

ok($many->flush_all, 'flush_all');
is_deeply($many->get_multi(keys %values), {}, 'nothing is left');

done_testing();
