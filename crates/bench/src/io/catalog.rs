//! What is measured: commands for the guest's shell, each of which does a fixed amount of work.

/// Where the figure of a row comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// Megabytes a second: field `n` (from 0) of fio's terse output, which is in KiB/s.
    Fio(usize),
    /// Thousands of operations a second: field `n` of fio's terse output.
    Operations(usize),
    /// Megabytes a second, out of iperf3's report of what the receiver got.
    Iperf,
    /// Files a second: so many files by the time that the command took.
    Files(u32),
    /// Megabytes a second: so many megabytes by the time that the command took.
    Megabytes(u32),
}

impl Figure {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Fio(_) | Self::Iperf | Self::Megabytes(_) => "MB/s",
            Self::Operations(_) => "kIO/s",
            Self::Files(_) => "files/s",
        }
    }
}

/// One row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) command: &'static str,
    pub(super) figure: Figure,
}

/// Fields of fio's terse output, version 3: bandwidth and operations, of reads and of writes.
const READ_BANDWIDTH: usize = 6;
const READ_OPERATIONS: usize = 7;
const WRITE_BANDWIDTH: usize = 47;
const WRITE_OPERATIONS: usize = 48;

/// How many files the rows about a shared folder make.
pub(super) const FILES: u32 = 2000;

pub(super) const ALL: [Row; 13] = [
    Row {
        name: "disk-read",
        command: "fio --name=j --filename=/dev/vda --direct=1 --ioengine=libaio --minimal \
                  --rw=read --bs=128k --iodepth=8 --size=512m",
        figure: Figure::Fio(READ_BANDWIDTH),
    },
    Row {
        name: "disk-write",
        command: "fio --name=j --filename=/dev/vda --direct=1 --ioengine=libaio --minimal \
                  --rw=write --bs=128k --iodepth=8 --size=512m",
        figure: Figure::Fio(WRITE_BANDWIDTH),
    },
    Row {
        name: "disk-randread",
        command: "fio --name=j --filename=/dev/vda --direct=1 --ioengine=libaio --minimal \
                  --rw=randread --bs=4k --iodepth=16 --size=512m --io_size=128m",
        figure: Figure::Operations(READ_OPERATIONS),
    },
    Row {
        name: "disk-randwrite",
        command: "fio --name=j --filename=/dev/vda --direct=1 --ioengine=libaio --minimal \
                  --rw=randwrite --bs=4k --iodepth=16 --size=512m --io_size=128m",
        figure: Figure::Operations(WRITE_OPERATIONS),
    },
    Row {
        name: "disk-latency",
        command: "fio --name=j --filename=/dev/vda --direct=1 --ioengine=psync --minimal \
                  --rw=randread --bs=4k --size=512m --io_size=48m",
        figure: Figure::Operations(READ_OPERATIONS),
    },
    Row {
        name: "disk-fsync",
        command: "fio --name=j --filename=/dev/vda --direct=1 --ioengine=psync --minimal \
                  --rw=randwrite --bs=4k --size=512m --io_size=8m --fsync=1",
        figure: Figure::Operations(WRITE_OPERATIONS),
    },
    Row {
        name: "net-send",
        command: "iperf3 -c 10.0.2.2 -p $PORT -n 512M -J",
        figure: Figure::Iperf,
    },
    Row {
        name: "net-receive",
        command: "iperf3 -c 10.0.2.2 -p $PORT -n 512M -J -R",
        figure: Figure::Iperf,
    },
    Row {
        name: "share-create",
        command: "mkdir /share/many && cd /share/many && i=0 && while [ $i -lt 2000 ]; do \
                  echo $i >$i; i=$((i+1)); done; cd /",
        figure: Figure::Files(FILES),
    },
    Row {
        name: "share-list",
        command: "ls -l /share/many | wc -l",
        figure: Figure::Files(FILES),
    },
    Row {
        name: "share-remove",
        command: "rm -r /share/many",
        figure: Figure::Files(FILES),
    },
    Row {
        name: "share-write",
        command: "dd if=/dev/zero of=/share/big bs=1M count=512 conv=fsync 2>/dev/null",
        figure: Figure::Megabytes(512),
    },
    Row {
        name: "share-read",
        command: "echo 3 >/proc/sys/vm/drop_caches; dd if=/share/big of=/dev/null bs=1M 2>/dev/null",
        figure: Figure::Megabytes(512),
    },
];
