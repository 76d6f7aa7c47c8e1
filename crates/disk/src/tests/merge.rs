//! Layers that become one hold what they held.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::branch::{CAPACITY, assert_holds, change, layer};
use super::{Numbers, await_closed, open, qemu, text};
use crate::{DiskError, Format, create_overlay, files};

/// Makes one of these layers, as a new file.
fn merge(layers: &[PathBuf], new: &Path) -> Result<(), DiskError> {
    File::create(new).expect("file");
    await_closed();
    crate::merge(layers, new)
}

/// Disks of several layers above a base, and what each is to hold.
struct Chain {
    folder: tempfile::TempDir,
    /// From the lowest up.
    models: Vec<Vec<u8>>,
}

impl Chain {
    /// `base` makes what the lowest layer stands on, and says what it has.
    fn new(layers: usize, numbers: &mut Numbers, base: Base) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let mut model = base.make(folder.path());
        let mut models = Vec::new();
        for number in 0..layers {
            let path = layer(folder.path(), number);
            let (below, format) = match number {
                0 => ("image.raw".into(), Format::Raw),
                _ => (layer(Path::new(""), number - 1), Format::Qcow2),
            };
            create_overlay(&path, &below, format, CAPACITY).expect("layer");
            let mut disk = open(&path, Format::Qcow2, false).expect("disk");
            // Some have little, or nothing.
            if numbers.below(4) > 0 {
                change(&mut disk, &mut model, numbers);
            }
            models.push(model.clone());
        }
        Self { folder, models }
    }

    fn layer(&self, number: usize) -> PathBuf {
        layer(self.folder.path(), number)
    }

    /// Makes one of the layers from `low` up to `high`, which stands where the highest stood.
    fn merge(&self, low: usize, high: usize) {
        let layers: Vec<_> = (low..=high)
            .rev()
            .map(|number| self.layer(number))
            .collect();
        let new = self.folder.path().join("new");
        merge(&layers, &new).expect("merged");
        fs::rename(&new, &layers[0]).expect("renamed");
        for layer in &layers[1..] {
            fs::remove_file(layer).expect("removed");
        }
    }
}

/// What the lowest layer stands on.
#[derive(Debug, Clone, Copy)]
enum Base {
    Raw,
    /// One that is shorter than the disk.
    Short,
    Empty,
}

impl Base {
    fn make(self, folder: &Path) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..CAPACITY).map(|at| (at / 512 % 251) as u8).collect();
        let length = match self {
            Self::Raw => CAPACITY,
            Self::Short => CAPACITY / 3 + 512,
            Self::Empty => 0,
        } as usize;
        fs::write(folder.join("image.raw"), &bytes[..length]).expect("base");
        bytes[length..].fill(0);
        bytes
    }
}

#[test]
fn any_layers_that_become_one_hold_what_they_held() {
    for seed in 1..=12 {
        let mut numbers = Numbers(seed);
        let base = [Base::Raw, Base::Short, Base::Empty][seed as usize % 3];
        let chain = Chain::new(6, &mut numbers, base);
        let low = numbers.below(5) as usize;
        let high = low + 1 + numbers.below(5 - low as u64) as usize;
        println!("seed {seed}: {base:?}, layers {low} to {high}");
        chain.merge(low, high);
        let depth = files(&chain.layer(5), Format::Qcow2).expect("chain").len();
        assert_eq!(depth, 7 - (high - low));
        for number in (0..low).chain(high..6) {
            assert_holds(&chain.layer(number), &chain.models[number]);
        }
        // It goes on.
        let mut disk = open(&chain.layer(5), Format::Qcow2, false).expect("disk");
        let mut model = chain.models[5].clone();
        change(&mut disk, &mut model, &mut numbers);
        drop(disk);
        assert_holds(&chain.layer(5), &model);
    }
}

#[test]
fn a_disk_that_stands_on_nothing_is_merged_to_the_ground() {
    let folder = tempfile::tempdir().expect("folder");
    let ground = layer(folder.path(), 0);
    let size = CAPACITY.to_string();
    if qemu(&["qemu-img", "create", "-f", "qcow2", text(&ground), &size]).is_none() {
        return;
    }
    let mut model = vec![0; CAPACITY as usize];
    let mut numbers = Numbers(5);
    for number in 0..3 {
        let path = layer(folder.path(), number);
        if number > 0 {
            let below = layer(Path::new(""), number - 1);
            create_overlay(&path, &below, Format::Qcow2, CAPACITY).expect("layer");
        }
        let mut disk = open(&path, Format::Qcow2, false).expect("disk");
        change(&mut disk, &mut model, &mut numbers);
    }
    let layers: Vec<_> = [2, 1, 0].map(|number| layer(folder.path(), number)).into();
    let new = folder.path().join("new");
    merge(&layers, &new).expect("merged");
    assert_holds(&new, &model);
    assert_eq!(files(&new, Format::Qcow2).expect("chain"), [new]);
}

#[test]
fn what_does_not_belong_together_or_is_written_is_not_merged() {
    let chain = Chain::new(4, &mut Numbers(3), Base::Raw);
    let new = chain.folder.path().join("new");
    let refused = |layers: &[usize]| {
        let layers: Vec<_> = layers.iter().map(|&number| chain.layer(number)).collect();
        merge(&layers, &new).expect_err("refused")
    };
    for layers in [&[][..], &[3, 1], &[1, 2], &[2, 2]] {
        let error = refused(layers);
        assert!(matches!(error, DiskError::Create { .. }), "{error}");
    }
    let writer = open(&chain.layer(3), Format::Qcow2, false).expect("disk");
    let error = refused(&[3, 2]);
    assert!(matches!(error, DiskError::InUse { .. }), "{error}");
    drop(writer);
    let path = chain.layer(2);
    let mut bytes = fs::read(&path).expect("layer");
    bytes[..4].fill(0);
    fs::write(&path, bytes).expect("layer");
    let error = refused(&[3, 2]);
    assert!(matches!(error, DiskError::Qcow2 { .. }), "{error}");
    // Nothing was done to any.
    assert_holds(&chain.layer(1), &chain.models[1]);
}
