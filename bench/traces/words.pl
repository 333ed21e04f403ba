#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# A program for `scoot-bench replay` to record: counts words, builds an index, sorts, drops half of it, goes on.
use strict;
use warnings;

my $state = 12345;
sub draw { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0]; }

my @syllables = qw(ka to mi ra ne so lu pi da ve ko shi an er ul);
sub word { return join '', map { $syllables[draw(scalar @syllables)] } 1 .. 1 + draw(5); }

my (%count, %lines, @text);
for my $round (1 .. 6) {
  for my $line (1 .. 500) {
    my @words = map { word() } 1 .. 4 + draw(12);
    push @text, join ' ', @words;
    for my $w (@words) {
      $count{$w}++;
      push @{ $lines{$w} }, "$round:$line";
    }
  }
  # Forget the rare half of the words, and every third line.
  my @by_count = sort { $count{$a} <=> $count{$b} || $a cmp $b } keys %count;
  for my $w (@by_count[0 .. $#by_count / 2]) {
    delete $count{$w};
    delete $lines{$w};
  }
  @text = @text[grep { $_ % 3 } 0 .. $#text];
  # A report, as one long string.
  my $report = '';
  $report .= sprintf("%-20s %6d %s\n", $_, $count{$_}, join(',', @{ $lines{$_} })) for sort keys %count;
  print length($report), "\n";
}
print join(' ', (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9]), "\n";
