//! A hub on the loopback address that answers as hubs do: hashes, commit, ranges; and that can
//! break off a transfer.

use crate::bench::{Bench, Ran, sha256};
use crate::gguf::gguf;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the hub behaves.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    pub(crate) etag: String,
    /// Transfers of the whole file that end after so many bytes, one for each.
    pub(crate) cuts: Vec<usize>,
}

pub(crate) struct Hub {
    pub(crate) endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, log) = (Arc::new(Mutex::new(behaviour)), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().take(200) {
                let (shared, log) = (Arc::clone(&shared), Arc::clone(&log));
                std::thread::spawn(move || answer(stream, &shared, &log));
            }
        });
        Self { endpoint, requests }
    }

    /// The ranges asked for, e.g. `0-0` and `1000-`.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.requests.lock().expect("unlocked").clone()
    }
}

fn answer(mut stream: TcpStream, shared: &Mutex<Behaviour>, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
    let request = lines.next().and_then(Result::ok).unwrap_or_default();
    let mut range = String::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("range")
        {
            range = value.trim_start_matches("bytes=").to_owned();
        }
    }
    log.lock().expect("unlocked").push(range.clone());
    let mut hub = shared.lock().expect("unlocked");
    // A commit's files are those of the branch that names it.
    let asked = request.split(' ').nth(1).unwrap_or_default().replace(COMMIT, "main");
    if asked != hub.path {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    }
    let total = hub.body.len();
    let (from, to) = range.split_once('-').unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap_or(0);
    let to: usize = to.parse().unwrap_or(total - 1);
    if from >= total {
        let _ = stream.write_all(
            b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        return;
    }
    let mut part = hub.body[from..=to].to_vec();
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{to}/{total}\r\n\
         etag: \"pointer\"\r\nx-linked-etag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\nconnection: close\r\n\r\n",
        part.len(),
        hub.etag
    );
    if part.len() > 1 && !hub.cuts.is_empty() {
        part.truncate(hub.cuts.remove(0));
    }
    drop(hub);
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&part);
}

fn hub_model(bench: &Bench, body: &[u8], etag: String, cuts: Vec<usize>) -> Hub {
    bench.model_of_hub("hubby", "some/where", "x.gguf");
    let path = "/some/where/resolve/main/x.gguf".to_owned();
    Hub::start(Behaviour { path, body: body.to_vec(), etag, cuts })
}

fn pull_hubby(bench: &Bench, hub: &Hub) -> Ran {
    let mut command = bench.command(&["pull", "hubby"]);
    command.env("HF_ENDPOINT", &hub.endpoint).output().expect("it runs").into()
}

#[test]
fn hub_files_are_checked_against_the_hubs_hash_and_recorded() {
    let bench = Bench::new();
    let body = gguf(120_000);
    let hub = hub_model(&bench, &body, sha256(&body), Vec::new());
    pull_hubby(&bench, &hub).must_succeed();
    assert_eq!(fs::read(bench.store("hubby/x.gguf")).expect("there"), body);
    let text = fs::read_to_string(bench.store("hubby/undertone-model.json")).expect("there");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(manifest["files"][0]["sha256"], sha256(&body).as_str());
    assert_eq!(manifest["source"], format!("hub some/where at {}", COMMIT).as_str());
    bench.run(&["verify", "hubby"]).must_succeed();

    let bench = Bench::new();
    let hub = hub_model(&bench, &body, "ab".repeat(32), Vec::new());
    pull_hubby(&bench, &hub).must_fail(6, "does not have the hash that the hub names");
    bench.must_not_have("hubby");
    let bench = Bench::new();
    let hub = hub_model(&bench, &body, "../../../../etc/x".into(), Vec::new());
    pull_hubby(&bench, &hub).must_fail(6, "gives no hash");
    let bench = Bench::new();
    let hub = hub_model(&bench, &body, sha256(&body), Vec::new());
    bench.model_of_hub("hubby", "some/where", "y.gguf");
    pull_hubby(&bench, &hub).must_fail(6, "has no y.gguf in some/where");
}

#[test]
fn hub_downloads_go_on_where_they_broke_off() {
    let bench = Bench::new();
    let body = gguf(500_000);
    let hub = hub_model(&bench, &body, sha256(&body), vec![200_000, 100_000]);
    pull_hubby(&bench, &hub).must_succeed();
    assert_eq!(fs::read(bench.store("hubby/x.gguf")).expect("there"), body);
    let ranges = hub.ranges();
    assert!(ranges.iter().any(|range| range == "200000-"), "{ranges:?}");
    assert!(ranges.iter().any(|range| range == "300000-"), "{ranges:?}");

    // Also over runs of the program: three broken tries, then another run.
    let bench = Bench::new();
    let hub = hub_model(&bench, &body, sha256(&body), vec![100_000; 3]);
    pull_hubby(&bench, &hub).must_fail(6, "some/where");
    bench.must_not_have("hubby");
    pull_hubby(&bench, &hub).must_succeed();
    assert_eq!(hub.ranges().last().map(String::as_str), Some("300000-"));
    assert_eq!(fs::read(bench.store("hubby/x.gguf")).expect("there"), body);
}
