#!/bin/sh
# Makes vectors.gz anew: see README.md for what it needs.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

riscv64-linux-gnu-gcc -march=rv64gc_zfh -mabi=lp64 -mcmodel=medany -O1 \
    -ffreestanding -fno-pic -no-pie -fno-stack-protector -nostdlib -static \
    -Wl,-n,--no-warn-rwx-segments,--build-id=none,-Ttext=0x80000000 -o "$work/oracle" oracle.c
spike --isa=rv64gc_zfh_zfa +signature="$work/signature" +signature-granularity=16 "$work/oracle"
# Spike writes each 16 bytes as one number, the highest byte first.
python3 - "$work/signature" <<'PYTHON'
import gzip, sys
data = b"".join(bytes.fromhex(line.strip())[::-1] for line in open(sys.argv[1]))
with open("vectors.gz", "wb") as file:
    file.write(gzip.compress(data, 9, mtime=0))
PYTHON
