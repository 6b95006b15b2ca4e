use super::*;

/// A value as the shortest text that gives it.
fn text(value: &ManifestValue) -> String {
    match &value.kind {
        ManifestKind::String(string) => format!("{string:?}"),
        ManifestKind::Tuple(entries) => {
            let entries: Vec<_> = entries.iter().map(|it| format!("{}:{}", it.name, text(&it.value))).collect();
            format!("({})", entries.join(" "))
        }
        ManifestKind::Vector(elements) => {
            format!("[{}]", elements.iter().map(text).collect::<Vec<_>>().join(" "))
        }
    }
}

fn parsed(manifest: &str) -> String {
    text(&Manifest::parse(manifest.as_bytes()).unwrap_or_else(|error| panic!("{manifest}: {error}")).root)
}

#[test]
fn manifests_mean_what_they_mean_to_mkfs() {
    for (manifest, expected) in [
        ("()", "()"),
        (" # comment\n( a : b )", r#"(a:"b")"#),
        ("(a:1#x b:c:d/e|f)", r#"(a:"1#x" b:"c:d/e|f")"#),
        ("(a:x#y\nb:z)", r#"(a:"x#y" b:"z")"#),
        ("(a#b:c)", r#"(a#b:"c")"#),
        (r#"("a b/c":"x \"y\" \\ \n")"#, r#"(a b/c:"x \"y\" \\ n")"#),
        ("(a:\"two\nlines\")", r#"(a:"two\nlines")"#),
        ("(a:)", r#"(a:"")"#),
        ("(a:() b:[])", "(a:() b:[])"),
        ("(a:[x [y z] (k:v)])", r#"(a:["x" ["y" "z"] (k:"v")])"#),
        ("(a:[ x y])", r#"(a:["x" "y"])"#),
        ("(a:[x y ])", r#"(a:["x" "y" ""])"#),
        ("(a:[(b:c) # d\n])", r#"(a:[(b:"c") ""])"#),
        ("(a:[ ])", "(a:[])"),
        ("(a:1 b:2 a:3)", r#"(a:"3" b:"2")"#),
        ("(a:1)(b:2) # the end", r#"(b:"2")"#),
        ("(ключ:значение)", r#"(ключ:"значение")"#),
        ("(a:b\tc:d\r\ne:f)", r#"(a:"b" c:"d" e:"f")"#),
        ("(a:x(b:y))", "ERROR"),
    ] {
        match Manifest::parse(manifest.as_bytes()) {
            Ok(found) => assert_eq!(text(&found.root), expected, "{manifest}"),
            Err(error) => assert_eq!(expected, "ERROR", "{manifest}: {error}"),
        }
    }
}

#[test]
fn a_mistyped_manifest_is_told_by_line_and_column() {
    for (manifest, message) in [
        ("", "line 1, column 1: the manifest is empty; the least is \"(children:())\""),
        ("children:()", "line 1, column 1: expected \"(\", found \"c\""),
        ("(a:b) c", "line 1, column 7: expected \"(\", found \"c\""),
        (
            "(\n  a:(b:c\n",
            "line 3, column 1: the manifest ends inside the tuple that begins at line 2, column 5: \")\" is missing",
        ),
        (
            "(a:[b",
            "line 1, column 6: the manifest ends inside the vector that begins at line 1, column 4: \"]\" is missing",
        ),
        (
            "(a:\"b)",
            "line 1, column 7: the manifest ends inside the text in quotes that begins at line 1, column 4: \
             \"\"\" is missing",
        ),
        ("(a:[b)]", "line 1, column 6: expected a value or \"]\", found \")\""),
        ("(ü:x\n ])", "line 2, column 2: expected a name or \")\", found \"]\""),
        ("(/bin:x)", "line 1, column 2: expected a name or \")\", found \"/\""),
        (
            "(usr/bin:x)",
            "line 1, column 5: expected \":\" behind the name \"usr\", found \"/\"; put names with blanks, \"/\" or \
             \"|\" in quotes",
        ),
        (
            "(a b:c)",
            "line 1, column 4: expected \":\" behind the name \"a\", found \"b\"; put names with blanks, \"/\" or \
             \"|\" in quotes",
        ),
        ("(:x)", "line 1, column 2: an empty name"),
        ("(\"\":x)", "line 1, column 2: an empty name"),
    ] {
        assert_eq!(Manifest::parse(manifest.as_bytes()).unwrap_err().to_string(), message, "{manifest}");
    }
    let error = Manifest::parse(b"(a:b\n \xff)").unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 2: this is not UTF-8");
    let deep = "(a:".repeat(TFS_MANIFEST_DEPTH_MAX + 1);
    let reason = ManifestFault::TooDeep { max: TFS_MANIFEST_DEPTH_MAX };
    assert_eq!(Manifest::parse(deep.as_bytes()).unwrap_err().reason, reason);
    let deep = format!("{}{}", "(a:".repeat(TFS_MANIFEST_DEPTH_MAX), ")".repeat(TFS_MANIFEST_DEPTH_MAX));
    Manifest::parse(deep.as_bytes()).unwrap();
}

#[test]
fn what_is_hardly_meant_is_remarked() {
    let manifest = Manifest::parse(b"(a:1)\n(b:[x ]\n b:2)").unwrap();
    let remarks: Vec<_> = manifest.remarks.iter().map(|remark| format!("{remark}")).collect();
    assert_eq!(
        remarks,
        [
            "line 1, column 1: another tuple follows, this one does not count",
            "line 2, column 6: blanks in front of \"]\" make an empty element, as they do for Nanos",
            "line 2, column 2: \"b\" is given again further down, this one does not count",
        ]
    );
}

#[test]
fn further_tuples_replace_attributes() {
    let mut manifest = Manifest::parse(b"(a:1 b:2 d:3)").unwrap();
    manifest.extend(Manifest::parse(b"(b:(x:y) c:4)").unwrap());
    assert_eq!(text(&manifest.root), r#"(a:"1" b:(x:"y") c:"4" d:"3")"#);
    assert_eq!(manifest.root.get("c").and_then(ManifestValue::as_str), Some("4"));
    assert_eq!(parsed("(c:4)"), r#"(c:"4")"#);
}
