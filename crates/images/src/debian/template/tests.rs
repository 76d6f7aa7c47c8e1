use super::*;
use crate::tests::world::World;

/// A template that has nothing in its files.
fn make(setup: &Setup, variant: &Variant) -> Folder {
    let folder = Folder::of(setup, &variant.folder());
    let file = |name: &str| {
        clade_store::write(&folder.0.join(name), name.as_bytes()).unwrap();
        KeptFile::of(&folder.0, name.to_owned()).unwrap()
    };
    let manifest = Manifest {
        name: variant.title(),
        kernel_version: String::new(),
        recipe: recipe(),
        suite_date: Timestamp::UNIX_EPOCH,
        built: Timestamp::UNIX_EPOCH,
        sources: Vec::new(),
        packages: Vec::new(),
        kernel: file("kernel"),
        initrd: file("initrd"),
        disk: file("disk"),
    };
    clade_store::write(&folder.0.join("left-over"), b"").unwrap();
    folder.publish(&manifest).unwrap();
    assert!(!folder.0.join("left-over").exists());
    folder
}

#[test]
fn templates_are_removed_by_the_names_that_they_are_listed_by() {
    let world = World::new();
    let setup = world.setup();
    let include = ["g++".to_owned(), "git".to_owned()];
    let plain = make(&setup, &Variant::new("debian", None, &[]).unwrap());
    let more = make(&setup, &Variant::new("debian", None, &include).unwrap());
    assert!(plain.usable(&Silent).is_some());
    let remove = |name: &str| remove(&setup, name, &[], &world.said);
    assert_eq!(remove("debian").unwrap(), "debian:trixie");
    assert!(!plain.0.exists() && more.0.exists());
    let needed = [more.0.join("disk").canonicalize().unwrap()];
    let error = super::remove(&setup, "debian:trixie+g+++git", &needed, &world.said).unwrap_err();
    assert!(matches!(error, Error::Needed { .. }), "{error}");
    for absent in ["debian", "debian:sid", "debian:trixie+git", "debian:.."] {
        let error = remove(absent).unwrap_err();
        assert!(matches!(error, Error::NotHere { .. }), "{error}");
    }
    remove("debian:trixie+g+++git").unwrap();
    assert!(!more.0.exists());
}

#[test]
fn a_template_that_was_written_to_is_not_used() {
    let world = World::new();
    let folder = make(&world.setup(), &Variant::new("debian", None, &[]).unwrap());
    fs::write(folder.0.join("disk"), "longer than it was").unwrap();
    assert!(folder.usable(&world.said).is_none());
    assert!(world.said.all().contains("damaged"), "{}", world.said.all());
}

#[test]
fn records_keep_their_form() {
    let json = r#"{"file":"disk-1","size":7,"modified":[1,2],"space":512}"#;
    let file: KeptFile = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&file).unwrap(), json);
}
