//! The simulated disk keeps to its assumptions, and uses them to the full.

use super::*;
use sprag_journal::fs::{File, write_all_at, write_atomic};

fn contents(image: &Image) -> Vec<(String, String)> {
    let text = |(path, bytes): (&PathBuf, &Rc<[u8]>)| {
        (path.display().to_string(), String::from_utf8_lossy(bytes).replace('\0', "0"))
    };
    image.files.iter().map(text).collect()
}

fn texts(fs: &SimFs, tear: Tear) -> BTreeSet<String> {
    fs.images(tear).iter().map(|i| contents(i).first().map_or("-".into(), |(_, text)| text.clone())).collect()
}

#[test]
fn name_length_and_bytes_are_lost_apart() {
    let fs = SimFs::with_dirs(&["/q"]);
    let file = fs.open(Path::new("/q/a"), Open::Create).unwrap();
    write_all_at(&file, b"abcd", 0).unwrap();
    let expected = ["-", "", "0000", "abcd"].map(String::from).into();
    assert_eq!(texts(&fs, Tear::Whole), expected);
    let torn = texts(&fs, Tear::Bytes);
    for text in ["", "00", "a0", "abc0", "0bcd", "000d", "a0c0", "abcd"] {
        assert!(torn.contains(text), "{text} is not among {torn:?}");
    }
    file.sync_data().unwrap();
    assert_eq!(texts(&fs, Tear::Bytes), ["-", "abcd"].map(String::from).into());
    fs.sync_dir(Path::new("/q")).unwrap();
    assert_eq!(texts(&fs, Tear::Bytes), ["abcd"].map(String::from).into());
}

#[test]
fn a_cut_that_is_lost_leaves_old_bytes_behind_new_ones() {
    let image = Image { dirs: ["/q".into()].into(), files: [("/q/a".into(), Rc::from(*b"abcdef"))].into() };
    let fs = SimFs::boot(&image);
    let file = fs.open(Path::new("/q/a"), Open::Write).unwrap();
    file.truncate(2).unwrap();
    write_all_at(&file, b"XY", 2).unwrap();
    let texts = texts(&fs, Tear::Whole);
    for text in ["abcdef", "ab", "abXY", "ab00", "abXYef"] {
        assert!(texts.contains(text), "{text} is not among {texts:?}");
    }
}

#[test]
fn a_lost_sync_shows_what_is_not_there() {
    let fs = SimFs::with_dirs(&["/q"]);
    let path = Path::new("/q/a");
    let file = fs.open(path, Open::Create).unwrap();
    fs.sync_dir(Path::new("/q")).unwrap();
    write_all_at(&file, b"ab", 0).unwrap();
    fs.fault_at(fs.calls(), Fault::SyncLost);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(errno::EIO));
    file.sync_data().unwrap();
    assert_eq!(contents(&fs.cached())[0].1, "ab");
    assert_eq!(texts(&fs, Tear::Bytes), ["00".to_string()].into());
    write_all_at(&file, b"ab", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(texts(&fs, Tear::Bytes), ["ab".to_string()].into());
}

#[test]
fn an_atomic_write_is_old_or_new_and_names_need_their_own_sync() {
    let fs = SimFs::with_dirs(&["/q"]);
    let path = Path::new("/q/a");
    write_atomic(&fs, path, b"old").unwrap();
    let calls = fs.calls();
    for crash in 0..5 {
        let fs = SimFs::boot(&fs.cached());
        fs.fault_at(crash, Fault::Crash);
        write_atomic(&fs, path, b"new").unwrap_err();
        for image in fs.images(Tear::Bytes) {
            let text = &image.files[path];
            assert!(**text == *b"old" || (**text == *b"new" && crash == 4), "{text:?} at {crash}");
        }
    }
    assert_eq!(calls, 5, "every call was crashed");
    let fs = SimFs::with_dirs(&["/q"]);
    fs.create_dir(Path::new("/q/d")).unwrap();
    write_atomic(&fs, Path::new("/q/d/a"), b"x").unwrap();
    let lost = Image { dirs: ["/q".into()].into(), files: BTreeMap::new() };
    assert!(fs.images(Tear::Whole).contains(&lost), "a file in a folder that was lost is lost");
}

#[test]
fn space_processes_and_the_hook() {
    let fs = SimFs::with_dirs(&["/q"]);
    fs.set_budget(Some(2 * 4096));
    let file = fs.open(Path::new("/q/a"), Open::Create).unwrap();
    assert_eq!(file.reserve(0, 3 * 4096).unwrap_err().raw_os_error(), Some(errno::ENOSPC));
    file.reserve(0, 4096).unwrap();
    assert_eq!(file.write_at(&[1; 10_000], 0).unwrap(), 8192);
    assert_eq!(file.write_at(&[1], 8192).unwrap_err().raw_os_error(), Some(errno::ENOSPC));
    file.truncate(0).unwrap();
    assert_eq!(file.write_at(&[1], 8192).unwrap(), 1);
    let other = fs.new_process();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (log, within) = (Rc::clone(&seen), fs.clone());
    fs.set_hook(Some(Rc::new(move |call| {
        log.borrow_mut().push((call.process, call.kind));
        // Another actor runs here, and ends this one.
        within.kill();
        None
    })));
    assert_eq!(fs.list(Path::new("/q")).unwrap_err().raw_os_error(), Some(errno::EIO));
    assert_eq!(other.list(Path::new("/q")).unwrap(), ["a"]);
    assert_eq!(*seen.borrow(), [(0, CallKind::List), (1, CallKind::List)]);
}

#[test]
fn an_image_drawn_is_one_of_those_enumerated_and_zero_means_nothing_lost() {
    let fs = SimFs::with_dirs(&["/q"]);
    let file = fs.open(Path::new("/q/a"), Open::Create).unwrap();
    write_all_at(&file, b"abcd", 0).unwrap();
    assert_eq!(fs.draw(&mut |_| 0), fs.cached());
    let all = fs.images(Tear::Pieces(8));
    let mut drawn = BTreeSet::new();
    let mut state = 1u32;
    for _ in 0..2000 {
        drawn.insert(fs.draw(&mut |n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        }));
    }
    assert!(drawn.is_subset(&all));
    assert!(drawn.len() > 15, "only {} images", drawn.len());
}

#[test]
fn a_file_keeps_its_room_under_another_name_and_gives_it_back_when_it_has_none() {
    let fs = SimFs::with_dirs(&["/q"]);
    fs.set_budget(Some(4 * 4096));
    let [first, second] = ["/q/a", "/q/b"].map(Path::new);
    write_all_at(&fs.open(first, Open::Create).unwrap(), b"ab", 0).unwrap();
    fs.rename(first, second).unwrap();
    assert_eq!(fs.room_now(), 3 * 4096);
    write_all_at(&fs.open(first, Open::Create).unwrap(), b"ab", 0).unwrap();
    fs.rename(first, second).unwrap();
    assert_eq!(fs.room_now(), 3 * 4096, "what stood there before has no name any more");
    fs.remove(second).unwrap();
    assert_eq!(fs.room_now(), 4 * 4096);
}

#[test]
fn a_copy_of_a_folder_is_what_is_seen_there_and_nothing_beside() {
    let fs = SimFs::with_dirs(&["/q", "/q/d", "/q/dd"]);
    for path in ["/q/d/a", "/q/dd/a", "/q/b"].map(Path::new) {
        write_all_at(&fs.open(path, Open::Create).unwrap(), b"ab", 0).unwrap();
    }
    let copy = fs.copied(Path::new("/q/d"));
    assert_eq!(copy.list(Path::new("/q/d")).unwrap(), ["a"]);
    assert_eq!(sprag_journal::fs::read_all(&copy, Path::new("/q/d/a"), 9).unwrap(), b"ab");
    assert!(copy.list(Path::new("/q/dd")).is_err() && copy.open(Path::new("/q/b"), Open::Read).is_err());
    assert_eq!(fs.copied(Path::new("/")).list(Path::new("/q")).unwrap(), ["b", "d", "dd"]);
}
