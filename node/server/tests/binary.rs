//! The binary: exit statuses, `halley config`, the environment, and a drain on SIGTERM.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn halley(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halley"));
    command.args(arguments).env_remove("HALLEY__CLIENT__LISTEN");
    command
}

fn output(arguments: &[&str]) -> Output {
    halley(arguments).output().expect("runs")
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("writes");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a path")
}

/// A node process, killed when a test fails before it has ended.
struct Process {
    child: Child,
    /// Lines of the log up to the one that says it is ready.
    log: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        let file = written(config);
        let mut process = Self {
            child: halley(&["serve", "--config", path(&file)])
                .envs(environment.iter().copied())
                .env("HALLEY__LOG__FORMAT", "json")
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts"),
            log: Vec::new(),
        };
        let (send, lines) = std::sync::mpsc::sync_channel(4096);
        let stderr = process.child.stderr.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            match lines.recv_timeout(Duration::from_secs(20)) {
                Ok(line) => {
                    process.log.push(line.clone());
                    if line.contains("node is ready") {
                        // The rest is read and dropped, so that the process never waits for the pipe.
                        std::thread::spawn(move || while lines.recv().is_ok() {});
                        return process;
                    }
                }
                Err(_) => panic!("the node did not become ready: {:#?}", process.log),
            }
        }
    }

    fn field(&self, name: &str) -> String {
        let ready: serde_json::Value =
            serde_json::from_str(self.log.last().expect("a line")).expect("JSON");
        ready[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name} is missing in {ready}"))
            .to_owned()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    fn ended(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status.code().expect("a status, not a signal");
            }
            assert!(Instant::now() < deadline, "the process has not ended");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const LOOPBACK: &str = "[client]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";

#[test]
fn the_printed_configuration_passes_the_check() {
    let printed = output(&["config"]);
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).expect("UTF-8");
    assert!(text.contains("maxInterval = 10000"), "{text}");
    let file = written(&text);
    let checked = output(&["config", "--check", path(&file)]);
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn configuration_errors_end_with_2_and_name_their_keys() {
    let file = written("[session]\nmaxQueue = \"many\"\nnonsense = 1\n");
    for arguments in [
        vec!["config", "--check", path(&file)],
        vec!["serve", "--config", path(&file)],
    ] {
        let output = output(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(
            told.contains("session.maxQueue") && told.contains("session.nonsense"),
            "{told}"
        );
    }
    assert_eq!(
        output(&["serve", "--config", "/no/such/file"])
            .status
            .code(),
        Some(2)
    );
    let mesh = written("[mesh]\nadvertise = \"127.0.0.1:7400\"\nsiblings = [\"127.0.0.1:7401\"]");
    let refused = output(&["serve", "--config", path(&mesh)]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("mesh.secret_file"));
    let wrong = halley(&["config", "--check", path(&written(""))])
        .env("HALLEY__SESSION__TIMEOUT", "soon")
        .output()
        .expect("runs");
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn an_address_that_is_taken_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let file = written(&format!(
        "[client]\nlisten = \"{address}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
    ));
    let output = output(&["serve", "--config", path(&file)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("client.listen"));
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(
            LOOPBACK,
            &[("HALLEY__NODE__NAME", "named-by-the-environment")],
        );
        assert_eq!(process.field("node"), "named-by-the-environment");
        assert!(
            process
                .log
                .iter()
                .any(|line| line.contains("effective configuration"))
        );
        // A client that holds a connection open must not keep the node from ending.
        let client = TcpStream::connect(process.field("client")).expect("connects");
        process.signal(signal);
        assert_eq!(process.ended(), 0);
        let mut rest = Vec::new();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        let _ = (&client).read_to_end(&mut rest);
        assert!(
            TcpStream::connect(process.field("client")).is_err(),
            "nobody listens any more"
        );
    }
}

#[test]
fn sighup_reads_the_secrets_again_and_ends_nothing() {
    let secret = written("old-old-old-old-old-old-old-old-\n");
    let config = format!(
        "{LOOPBACK}[mesh]\nlisten = \"127.0.0.1:0\"\nsecret_file = {:?}\njoin_wait_ms = 0\n",
        path(&secret)
    );
    let mut process = Process::start(&config, &[]);
    std::fs::write(
        secret.path(),
        "new-new-new-new-new-new-new-new-\nold-old-old-old-old-old-old-old-\n",
    )
    .expect("writes");
    process.signal("-HUP");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut admin = TcpStream::connect(process.field("admin")).expect("connects");
        admin
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("writes");
        let mut metrics = String::new();
        admin.read_to_string(&mut metrics).expect("reads");
        if metrics.contains("halley_mesh_secrets 2\n") {
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
    process.signal("-TERM");
    assert_eq!(process.ended(), 0);
}
