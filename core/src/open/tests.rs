use super::*;

#[test]
fn references_are_taken_apart() {
    for (text, format, path, select) in [
        ("a.cpio", None, "a.cpio", None),
        ("cpio:a.img", Some(Format::Cpio), "a.img", None),
        ("9p:host:564", Some(Format::P9), "host:564", None),
        ("zip:a.img", None, "zip:a.img", None),
        ("./cpio:a.img", None, "./cpio:a.img", None),
        ("disk.img#boot", None, "disk.img", Some("boot")),
        ("oci:layout#latest#layer=2", Some(Format::Oci), "layout#latest", Some("layer=2")),
        ("a#", None, "a", Some("")),
    ] {
        let image = ImageRef::parse(text);
        assert_eq!(image.format, format, "{text}");
        assert_eq!(image.location, Location::Path(path.into()), "{text}");
        assert_eq!(image.select.as_deref(), select.map(OsStr::new), "{text}");
        assert_eq!(image.to_string(), text);
    }
    assert_eq!(ImageRef::parse("-").location, Location::Stdin);
    assert_eq!(ImageRef::parse("tar:-").location, Location::Stdin);
    assert_eq!(ImageRef::from_path("cpio:a#b").location, Location::Path("cpio:a#b".into()));
}

#[test]
fn what_comes_through_a_pipe_goes_to_a_file_when_it_is_long() {
    let stream: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    for (max_in_memory, max_unpacked) in [(1000, 100_000), (99_999, 200_000), (100_000, 100_000), (1 << 30, 1 << 30)] {
        let options = OpenOptions { max_in_memory, max_unpacked, ..OpenOptions::default() };
        let source = read_stream(&*stream, &options).unwrap();
        assert_eq!(source.bytes_at(0..source.len()).unwrap(), stream);
    }
    for max_in_memory in [10, 1 << 30] {
        let options = OpenOptions { max_in_memory, max_unpacked: 99_999, ..OpenOptions::default() };
        assert_eq!(read_stream(&*stream, &options).unwrap_err(), Errno::FileTooBig);
    }
}

#[test]
fn arguments_split_at_the_first_colon_slash() {
    for (text, image, path) in [
        ("a.cpio", "a.cpio", None),
        ("a.cpio:/", "a.cpio", Some("/")),
        ("a.cpio:/x:/y", "a.cpio", Some("/x:/y")),
        ("cpio:a:/x", "cpio:a", Some("/x")),
        ("cpio:/a", "cpio:/a", None),
        ("cpio:/a:/x", "cpio:/a", Some("/x")),
        ("/boot:/x", "/boot", Some("/x")),
        ("a:b", "a:b", None),
    ] {
        assert_eq!(split_path(text.as_ref()), (image.as_ref(), path.map(str::as_bytes)), "{text}");
    }
}
