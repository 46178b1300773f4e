//! Bad input gets one clear error that names the thing, the value and what is allowed; CMD is not started and nothing is
//! attached.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use conngate_testbed::lab::{self, Namespace, gated};
use object::{Object, ObjectSection, ObjectSymbol};
use tempfile::TempDir;

/// Exit codes: a wrong command line, and a failure before CMD was started.
const USAGE: i32 = 2;
const FAILED: i32 = 125;

/// Runs `PREFIX conngate run OPTIONS -- touch FILE`, and asserts on its only words and that CMD was not started.
fn assert_refused(prefix: &[&str], options: &[&str], code: i32, fragments: &[&str]) -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("started");
    let namespace = Namespace::new()?;
    let conngate = gated::binary()?;
    let mut command = match prefix {
        [] => namespace.command(&conngate),
        [program, arguments @ ..] => {
            let mut command = namespace.command(program);
            command.args(arguments).arg(&conngate);
            command
        }
    };
    let output = command.arg("run").args(options).args(["--", "touch"]).arg(&file).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{options:?}: {said}");
    for fragment in fragments {
        assert!(said.contains(fragment), "{options:?} does not say {fragment:?}: {said}");
    }
    let complaints = said.lines().filter(|line| line.starts_with("error: ") || line.starts_with("conngate: ")).count();
    assert_eq!(complaints, 1, "one error each: {said}");
    assert!(!file.exists(), "{options:?}: CMD was started");
    Ok(())
}

#[test]
fn options_out_of_range_are_named_with_what_is_allowed() -> Result<()> {
    lab::run(|| {
        let nine_ports: Vec<_> = (1..=9).map(|port| format!("--capture-port={}", 15000 + port)).collect();
        let nine_ports: Vec<_> = nine_ports.iter().map(String::as_str).collect();
        let cases: &[(&[&str], i32, &[&str])] = &[
            (&["--capture-port", "0"], USAGE, &["--capture-port", "'0'", "1..=65535"]),
            (&["--capture-port", "70000"], USAGE, &["--capture-port", "70000", "1..=65535"]),
            (&nine_ports, FAILED, &["--capture-port", "9 times", "at most 8"]),
            (&["--ready-url", "http://192.0.2.1:15000/ready"], USAGE, &["--ready-url", "192.0.2.1", "127.x.x.x"]),
            (&["--ready-url", "http://example.com/"], USAGE, &["--ready-url", "example.com", "localhost"]),
            (&["--ready-url", "https://127.0.0.1/"], USAGE, &["--ready-url", "https://", "http://HOST"]),
            (&["--ready-url", "unix:/run/envoy"], USAGE, &["--ready-url", "unix:/run/envoy"]),
            (&["--timeout", "soon"], USAGE, &["--timeout", "soon", "1s to 10m"]),
            (&["--timeout", "11m"], USAGE, &["--timeout", "11m", "1s to 10m"]),
            (&["--timeout", "10ms"], USAGE, &["--timeout", "10ms", "1s to 10m"]),
            (&["--on-timeout", "drop"], USAGE, &["--on-timeout", "drop", "release, reset"]),
            (&["--mode", "gate"], USAGE, &["--mode", "gate", "hold, retry, observe"]),
            (&["--exempt-uid", "envoy"], USAGE, &["--exempt-uid", "envoy"]),
            (&["--exempt-uid", "4294967295"], USAGE, &["--exempt-uid", "4294967295", "0..4294967295"]),
            (&["-o", "yaml"], USAGE, &["--output", "yaml", "text, json"]),
            (&["--frobnicate"], USAGE, &["--frobnicate"]),
        ];
        cases.iter().try_for_each(|(options, code, fragments)| assert_refused(&[], options, *code, fragments))
    })
}

#[test]
fn command_missing_is_named() -> Result<()> {
    lab::run(|| {
        for arguments in [&["run"][..], &["run", "--"]] {
            let output = Namespace::new()?.command(gated::binary()?).args(arguments).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(USAGE));
            assert!(said.contains("<CMD>"), "{said}");
        }
        Ok(())
    })
}

#[test]
fn capability_missing_is_named_with_what_it_is_for() -> Result<()> {
    lab::run(|| {
        for name in ["bpf", "perfmon", "net_admin", "net_raw", "sys_admin", "sys_ptrace"] {
            let drop = format!("-{name}");
            let prefix = ["setpriv", "--bounding-set", &drop, "--inh-caps", &drop];
            assert_refused(&prefix, &[], FAILED, &["missing", &format!("CAP_{}", name.to_uppercase()), "(to "])?;
        }
        Ok(())
    })
}

#[test]
fn cgroup_namespace_is_named() -> Result<()> {
    lab::run(|| assert_refused(&["unshare", "--cgroup"], &[], FAILED, &["cgroup namespace", "--cgroupns=host"]))
}

#[test]
fn object_of_another_abi_is_named() -> Result<()> {
    lab::run(|| {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/src/bpf/object/conngate.bpf.o");
        let mut bytes = fs::read(committed)?;
        let at = {
            let file = object::File::parse(&*bytes)?;
            let symbol = file.symbols().find(|symbol| symbol.name() == Ok("CONNGATE_ABI")).context("the symbol")?;
            let section = file.section_by_index(symbol.section_index().context("defined")?)?;
            usize::try_from(section.file_range().context("in the file")?.0 + symbol.address())?
        };
        bytes[at..at + 4].copy_from_slice(&4711u32.to_le_bytes());
        let directory = TempDir::new()?;
        let other = directory.path().join("other.o");
        fs::write(&other, bytes)?;
        let path = other.to_str().context("a path in UTF-8")?;
        assert_refused(&[], &["--bpf-object", path], FAILED, &[path, "ABI 4711", "needs ABI"])?;
        fs::write(&other, b"no object")?;
        assert_refused(&[], &["--bpf-object", path], FAILED, &[path, "not an eBPF object"])?;
        assert_refused(&[], &["--bpf-object", "/nonexistent"], FAILED, &["cannot read", "/nonexistent"])
    })
}
