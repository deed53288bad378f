use super::*;

fn file(disk: &mut Disk, name: &str) -> u64 {
    disk.make((ROOT, name.as_ref()), Body::File(Content::default()), 0o644, (0, 0)).expect("made")
}

fn text(disk: &mut Disk, name: &str) -> Option<String> {
    let number = disk.lookup(ROOT, name.as_ref()).ok()?;
    Some(String::from_utf8_lossy(&disk.content(number).expect("a file").now).into_owned())
}

/// Everything that a power loss may leave of a file, over many of them.
fn outcomes(disk: &Disk, leaves: Leaves, name: &str) -> std::collections::BTreeSet<Option<String>> {
    let mut random = Random::new(7);
    (0..300).map(|_| text(&mut disk.after_power_loss(leaves, &mut random), name)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn what_was_synced_with_its_name_survives() {
    let mut disk = Disk::default();
    let number = file(&mut disk, "f");
    disk.write(number, 0, b"durable").expect("written");
    disk.sync_file(number).expect("synced");
    disk.sync_directory(ROOT).expect("synced");
    for leaves in [Leaves::Nothing, Leaves::Everything, Leaves::Prefix, Leaves::Anything] {
        assert_eq!(outcomes(&disk, leaves, "f"), [some("durable")].into());
    }
}

#[test]
fn a_synced_file_without_a_synced_name_and_a_synced_name_without_content_may_be_left() {
    let mut disk = Disk::default();
    let number = file(&mut disk, "f");
    disk.write(number, 0, b"x").expect("written");
    disk.sync_file(number).expect("synced");
    assert_eq!(outcomes(&disk, Leaves::Anything, "f"), [None, some("x")].into());

    let mut disk = Disk::default();
    let number = file(&mut disk, "f");
    disk.sync_directory(ROOT).expect("synced");
    disk.write(number, 0, b"xy").expect("written");
    let all = [some(""), some("x"), some("xy"), some("\0\0"), some("x\0")];
    assert_eq!(outcomes(&disk, Leaves::Anything, "f"), all.into());
}

#[test]
fn an_append_takes_nothing_from_what_was_synced_before() {
    let mut disk = Disk::default();
    let number = file(&mut disk, "f");
    disk.write(number, 0, b"ab").expect("written");
    disk.sync_file(number).expect("synced");
    disk.sync_directory(ROOT).expect("synced");
    disk.write(number, 2, b"c").expect("written");
    let left = outcomes(&disk, Leaves::Anything, "f");
    assert_eq!(left, [some("ab"), some("abc"), some("ab\0")].into());
    disk.resize(number, 0).expect("truncated");
    assert!(outcomes(&disk, Leaves::Anything, "f").contains(&some("")));
}

#[test]
fn a_replaced_file_is_old_or_new_and_a_rename_never_loses_both_names() {
    let mut disk = Disk::default();
    let old = file(&mut disk, "f");
    disk.write(old, 0, b"old").expect("written");
    disk.sync_all();
    let new = file(&mut disk, "f.tmp");
    disk.write(new, 0, b"new").expect("written");
    disk.sync_file(new).expect("synced");
    disk.rename((ROOT, "f.tmp".as_ref()), (ROOT, "f".as_ref()), false).expect("renamed");
    assert_eq!(outcomes(&disk, Leaves::Anything, "f"), [some("old"), some("new")].into());
    disk.sync_directory(ROOT).expect("synced");
    assert_eq!(outcomes(&disk, Leaves::Anything, "f"), [some("new")].into());
    assert_eq!(outcomes(&disk, Leaves::Anything, "f.tmp"), [None].into());
}

#[test]
fn what_a_sync_made_durable_is_not_undone_by_an_earlier_change() {
    let mut disk = Disk::default();
    let directory =
        disk.make((ROOT, "d".as_ref()), Body::directory(), 0o755, (0, 0)).expect("made");
    disk.sync_all();
    let moved = file(&mut disk, "f");
    disk.sync_file(moved).expect("synced");
    disk.rename((ROOT, "f".as_ref()), (directory, "g".as_ref()), false).expect("renamed");
    disk.sync_directory(directory).expect("synced");
    assert_eq!(outcomes(&disk, Leaves::Anything, "f"), [None].into());
}

#[test]
fn without_power_nothing_changes() {
    let mut disk = Disk::default();
    disk.begin(Some(Interruption::PowerCut(1)));
    let number = file(&mut disk, "f");
    assert!(!disk.is_off());
    assert!(disk.write(number, 0, b"x").is_err());
    assert!(disk.is_off() && disk.lookup(ROOT, "f".as_ref()).is_err());
}
