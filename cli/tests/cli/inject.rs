//! Test cases with calls that fail: those of the case, and each in turn.

use mountless_tests::c_guest;

use crate::sandbox::Sandbox;

/// Inputs with a program, and a case file for it; and the file's path.
fn sandbox(guest: &str, cases: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wasm", std::fs::read(c_guest(guest)).unwrap());
    let file = sandbox.file("cases.toml", format!("program = \"guest.wasm\"\n{cases}"));
    (sandbox, file)
}

#[test]
fn faults_of_a_case_strike() {
    let (sandbox, file) = sandbox(
        "fill",
        "args = [\"/out\", \"5\"]\n\
         [[case]]\nname = \"full\"\nfaults = [{ op = \"write\", path = \"/o*\", after_bytes = 1500, error = \"ENOSPC\" }]\n\
         expect = { exit = 1, stdout = \"1500 bytes, then: No space left on device\\n\" }\n\
         [[case]]\nname = \"as on the command line\"\nfaults = [\"op=create,error=EACCES\"]\n\
         expect = { exit = 1, stdout = \"open: Permission denied\\n\" }\n\
         [[case]]\nname = \"of no use\"\nfaults = [{ op = \"link\" }]\n\
         [[case]]\nname = \"left to chance\"\nfaults = [{ op = \"write\", probability = 0 }]\n",
    );
    let done = sandbox.run(["test", &file]);
    assert_eq!(done.code, 1, "{}", done.shown());
    assert!(done.stdout.contains("fault 1 of the case never struck"), "{}", done.stdout);
    assert!(done.stdout.contains("3 passed, 1 failed"), "{}", done.stdout);
}

#[test]
fn mistakes_in_faults_have_a_place() {
    for (fault, said) in [
        ("{ op = \"wrote\" }", "\"wrote\" is no kind of call"),
        ("{ eror = \"EIO\" }", "no such key"),
        ("{ nth = 0 }", "counts from 1"),
        ("\"op\"", "expected key=value"),
    ] {
        let (sandbox, file) = sandbox("fill", &format!("faults = [{fault}]\n"));
        let done = sandbox.run(["test", &file]);
        assert_eq!(done.code, 2, "{}", done.shown());
        assert!(done.stderr.contains(said) && done.stderr.contains("cases.toml:2:"), "{}", done.stderr);
    }
}

#[test]
fn programs_that_do_not_cope_are_found() {
    for (word, expected) in [
        ("report", None),
        ("crash", Some("it crashes when a call fails: create of /out: ENOSPC")),
        ("hang", Some("it hangs when a call fails: create of /out: ENOSPC")),
        ("lie", Some("it claims success, but is wrong, when a call fails: create of /out: ENOSPC")),
    ] {
        let cases = format!("args = [\"{word}\"]\nlimits.time = \"1s\"\nexpect.files = {{ \"/out\" = \"data\" }}\n");
        let (sandbox, file) = sandbox("careless", &cases);
        let done = sandbox.run(["test", &file, "--inject", "ENOSPC"]);
        assert_eq!(done.code, i32::from(expected.is_some()), "{word}: {}", done.shown());
        assert!(done.stdout.contains(expected.unwrap_or("(2 failing calls)")), "{word}: {}", done.stdout);
    }
}

#[test]
fn half_a_write_is_a_failure_that_programs_forget() {
    let (sandbox, file) = sandbox("fill", "args = [\"/out\", \"3\"]\nexpect.stdout = \"3000 bytes\\n\"\n");
    let errors = sandbox.run(["test", &file, "--inject", "ENOSPC,EIO,EACCES"]);
    assert_eq!(errors.code, 0, "{}", errors.shown());
    let all = sandbox.run(["test", &file, "--inject", "all"]);
    assert_eq!(all.code, 1, "{}", all.shown());
    let said = "it claims success, but is wrong, when a call fails: write of /out no. 3: only half of it";
    assert!(all.stdout.contains(said), "{}", all.stdout);
    let wrong = sandbox.run(["test", &file, "--inject", "everything"]);
    assert!(wrong.stderr.contains("write all, or some of ENOSPC,EIO,EACCES,short"), "{}", wrong.stderr);
}
