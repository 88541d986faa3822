//! The smallest CRI client: one call of containerd's gRPC socket each, by `curl`, which speaks HTTP/2. Requests are
//! protobuf by hand; field numbers are those of `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.

use std::fs;
use std::time::Instant;

use crate::node::{INTERVAL, Node, PATIENCE};

pub(crate) struct Cri<'a> {
    node: &'a Node,
}

/// What is asked for.
pub(crate) struct Sandbox<'a> {
    pub(crate) name: &'a str,
    pub(crate) container_port: u64,
    pub(crate) host_port: u64,
}

impl<'a> Cri<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Self { node }
    }

    /// The conditions that are met.
    pub(crate) fn conditions(&self) -> Vec<String> {
        let answer = self.call("Status", &[]).expect("a status");
        let status = field(&answer, 1).remove(0);
        // `status` of a condition is left out where it is false
        let met =
            field(&status, 1).into_iter().filter(|condition| fields(condition).iter().any(|(n, _)| *n == 2));
        met.map(|condition| text(&field(&condition, 1)[0])).collect()
    }

    /// Waits until containerd has read a network configuration that has this text.
    pub(crate) fn until_configured(&self, wanted: &str) {
        let started = Instant::now();
        loop {
            let answer = self.call("Status", &number(1, 1)).expect("a status");
            if String::from_utf8_lossy(&answer).contains(wanted) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "containerd never read `{wanted}`");
            std::thread::sleep(INTERVAL);
        }
    }

    /// Starts a pod's sandbox; gives its ID.
    pub(crate) fn run_pod(&self, sandbox: &Sandbox<'_>) -> String {
        text(&field(&self.call("RunPodSandbox", &request(sandbox)).expect("a pod"), 1)[0])
    }

    /// The error of a pod that must not start.
    pub(crate) fn refuse_pod(&self, sandbox: &Sandbox<'_>) -> String {
        self.call("RunPodSandbox", &request(sandbox)).expect_err("the pod is refused")
    }

    pub(crate) fn stop_pod(&self, id: &str) {
        self.call("StopPodSandbox", &bytes(1, id.as_bytes())).expect("stopped");
    }

    pub(crate) fn remove_pod(&self, id: &str) {
        self.call("RemovePodSandbox", &bytes(1, id.as_bytes())).expect("removed");
    }

    /// The message of the answer, or that of the error.
    fn call(&self, method: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        // gRPC's frame: not compressed, length, message
        let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        fs::write(self.node.path("/run/request"), [&[0], &length[..], message].concat()).expect("written");
        let mut command = self.node.command("curl");
        command.args(["--silent", "--show-error", "--http2-prior-knowledge"]);
        command.args(["--unix-socket", "/run/containerd/containerd.sock", "--data-binary", "@/run/request"]);
        command.args(["--header", "content-type: application/grpc", "--header", "te: trailers"]);
        command.args(["--dump-header", "/run/headers", "--output", "/run/answer"]);
        let output = command
            .arg(format!("http://localhost/runtime.v1.RuntimeService/{method}"))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{method}: {output:?}");
        let headers = fs::read_to_string(self.node.path("/run/headers")).expect("headers");
        if !headers.contains("grpc-status: 0") {
            return Err(headers);
        }
        let answer = fs::read(self.node.path("/run/answer")).expect("an answer");
        Ok(answer.get(5..).unwrap_or_default().to_vec())
    }
}

fn request(sandbox: &Sandbox<'_>) -> Vec<u8> {
    let metadata = [
        bytes(1, sandbox.name.as_bytes()),
        bytes(2, format!("uid-{}", sandbox.name).as_bytes()),
        bytes(3, b"default"),
    ];
    let mapping = [number(2, sandbox.container_port), number(3, sandbox.host_port)].concat();
    let linux = bytes(1, b"/pods");
    let config = [
        bytes(1, &metadata.concat()),
        bytes(2, sandbox.name.as_bytes()),
        bytes(5, &mapping),
        bytes(8, &linux),
    ];
    bytes(1, &config.concat())
}

/// A field of wire type 2: a message or text.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field of wire type 0.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// All fields of a message that has only numbers (left empty here) and bytes.
fn fields(message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut rest = message.iter().copied();
    let mut all = Vec::new();
    while let Some(key) = read_varint(&mut rest) {
        let number = read_varint(&mut rest).expect("a value");
        let value = match key & 7 {
            0 => Vec::new(),
            2 => rest.by_ref().take(usize::try_from(number).expect("a length")).collect(),
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, value));
    }
    all
}

fn read_varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The messages or texts of a field.
fn field(message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    fields(message).into_iter().filter(|(number, _)| *number == wanted).map(|(_, value)| value).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
