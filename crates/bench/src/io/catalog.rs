//! What is measured: commands for the guest's shell.

use super::table::Unit;

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
    /// Megabytes a second: so many mebibytes by the time that the command took.
    Megabytes(u32),
}

impl Figure {
    pub(super) fn unit(self) -> Unit {
        let name = match self {
            Self::Fio(_) | Self::Iperf | Self::Megabytes(_) => "MB/s",
            Self::Operations(_) => "kIO/s",
            Self::Files(_) => "files/s",
        };
        Unit { name, more: true }
    }
}

/// One row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What comes first, and is not measured.
    pub(super) before: &'static str,
    pub(super) command: String,
    pub(super) figure: Figure,
}

/// How much of everything.
pub(super) struct Scale {
    /// How long fio and iperf3 work at one row, in seconds.
    pub(super) seconds: u32,
    /// How many files the rows about a shared folder make.
    pub(super) files: u32,
    /// Mebibytes of the large file in a shared folder.
    pub(super) large: u32,
    /// Mebibytes that are written, read again and compared.
    pub(super) verified: u32,
}

impl Scale {
    pub(super) const FULL: Self = Self {
        seconds: 8,
        files: 10_000,
        large: 512,
        verified: 64,
    };
    /// Enough to see that everything works, and roughly how fast.
    pub(super) const QUICK: Self = Self {
        seconds: 1,
        files: 300,
        large: 32,
        verified: 8,
    };
}

/// Fields of fio's terse output, version 3: bandwidth and operations, of reads and of writes.
const READ_BANDWIDTH: usize = 6;
const READ_OPERATIONS: usize = 7;
const WRITE_BANDWIDTH: usize = 47;
const WRITE_OPERATIONS: usize = 48;

/// fio at the disk, past the guest's page cache.
const FIO: &str = "fio --name=row --filename=/dev/vda --direct=1 --minimal";

/// Nothing is known any more, nothing is left to be written.
const FORGET: &str = "sync; echo 3 >/proc/sys/vm/drop_caches";

/// Every row, in the order in which they can be measured: files are made before they are read.
pub(super) fn rows(scale: &Scale) -> Vec<Row> {
    let mut rows = disk(scale);
    rows.extend(network(scale));
    rows.extend(share(scale));
    rows
}

fn disk(scale: &Scale) -> Vec<Row> {
    let seconds = scale.seconds;
    let timed = |name, job: &str, figure| Row {
        name,
        before: "",
        command: format!("{FIO} --size=512m --time_based --runtime={seconds} {job}"),
        figure,
    };
    let queued = |pattern: &str, block: &str, depth: u32| {
        format!("--ioengine=libaio --rw={pattern} --bs={block} --iodepth={depth}")
    };
    let verified = Row {
        name: "disk-verify",
        before: "",
        command: format!(
            "{FIO} --size={}m --verify=crc32c --verify_fatal=1 {}",
            scale.verified,
            queued("randwrite", "4k", 32)
        ),
        figure: Figure::Operations(WRITE_OPERATIONS),
    };
    let flushed = "--ioengine=psync --rw=randwrite --bs=4k --fsync=1";
    let read = Figure::Operations(READ_OPERATIONS);
    let write = Figure::Operations(WRITE_OPERATIONS);
    vec![
        timed(
            "disk-read",
            &queued("read", "1m", 4),
            Figure::Fio(READ_BANDWIDTH),
        ),
        timed(
            "disk-write",
            &queued("write", "1m", 4),
            Figure::Fio(WRITE_BANDWIDTH),
        ),
        timed("disk-randread-1", &queued("randread", "4k", 1), read),
        timed("disk-randread-32", &queued("randread", "4k", 32), read),
        timed("disk-randwrite-1", &queued("randwrite", "4k", 1), write),
        timed("disk-randwrite-32", &queued("randwrite", "4k", 32), write),
        timed("disk-fsync", flushed, write),
        verified,
    ]
}

fn network(scale: &Scale) -> Vec<Row> {
    let row = |name, direction: &str| Row {
        name,
        before: "",
        command: format!(
            "iperf3 -c 10.0.2.2 -p $PORT -t {} -J {direction}",
            scale.seconds
        ),
        figure: Figure::Iperf,
    };
    vec![row("net-send", ""), row("net-receive", "-R")]
}

fn share(scale: &Scale) -> Vec<Row> {
    let Scale { files, large, .. } = *scale;
    let row = |name, before, command, figure| Row {
        name,
        before,
        command,
        figure,
    };
    let of_files = |name, before, command| row(name, before, command, Figure::Files(files));
    let of_large = |name, before, command| row(name, before, command, Figure::Megabytes(large));
    let count = |listing: &str| format!("[ $({listing} | wc -l) = {files} ]");
    // busybox does each of these in one process.
    vec![
        of_files(
            "share-create",
            "mkdir /share/many /share/moved",
            format!(
                "cd /share/many && i=0 && while [ $i -lt {files} ]; do \
                 echo $i >$i; i=$((i+1)); done; cd /"
            ),
        ),
        of_files(
            "share-stat",
            FORGET,
            count("ls -lA /share/many | grep -v ^total"),
        ),
        of_files("share-read-small", FORGET, count("cat /share/many/*")),
        of_files(
            "share-rename",
            FORGET,
            "mv /share/many/* /share/moved/".into(),
        ),
        of_files(
            "share-remove",
            FORGET,
            format!(
                "{} && rm -r /share/many /share/moved",
                count("ls /share/moved")
            ),
        ),
        of_large(
            "share-write",
            "rm -f /share/large",
            format!("dd if=/dev/zero of=/share/large bs=1M count={large} conv=fsync 2>/dev/null"),
        ),
        of_large(
            "share-read",
            FORGET,
            format!("dd if=/share/large of=/dev/null bs=1M 2>&1 | grep -q '^{large}+0 records in'"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_commands_of_one_line() {
        let rows = rows(&Scale::QUICK);
        let names: std::collections::BTreeSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
        assert!(rows.iter().all(|row| !row.command.contains('\n')));
    }
}
