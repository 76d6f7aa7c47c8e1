# Counts words, edits lines, sorts the outcome.
use strict;
my (%count, $long, $digits);
open my $text, '<', '/bench/text' or die;
while (<$text>) {
    last if $. > 4_000;
    $count{$_}++ for split;
    $long++ if /\b([a-z]+)[a-z]* .*\b\1\b/;
    $digits += $1 if s/(\d+)$/<$1>/;
}
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
printf "%s %d\n", $_, $count{$_} for @order[0 .. 4];
printf "%d words, %d lines, sum %d\n", scalar @order, $long, $digits;
