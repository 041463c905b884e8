//! Callers of a control socket: what they are answered, and what they cannot keep others from.

use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::control::client;
use crate::control::wire::{RelayRequest, Which};
use crate::history::Act;
use crate::mail::message::MessageId;

struct Echo;

impl Handler for Echo {
    type Request = RelayRequest;

    async fn answer(
        &self,
        request: RelayRequest,
        file: Vec<u8>,
        caller: Caller,
    ) -> Result<Said, String> {
        match request {
            RelayRequest::QueueShow { .. } => {
                require(caller, Right::Change).and_then(|()| Said::of(&1))
            }
            RelayRequest::QueueChange { .. } => Said::of(&String::from_utf8_lossy(&file)),
            // It never comes to an end.
            RelayRequest::RouteList => std::future::pending().await,
            other => Said::of(&other),
        }
    }

    fn file_of(&self, request: &RelayRequest, caller: Caller) -> Result<usize, String> {
        match request {
            RelayRequest::QueueChange { .. } => require(caller, Right::Change).map(|()| 5),
            _ => Ok(0),
        }
    }
}

fn with_a_file() -> RelayRequest {
    RelayRequest::QueueChange { act: Act::Drop, which: Which::Ids(Vec::new()) }
}

/// Must be called within a runtime.
fn served(trust: Trust) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = bind(&path).unwrap();
    tokio::spawn(serve(listener, trust, Arc::new(Echo)));
    (folder, path)
}

fn nobody() -> Trust {
    let own_uid = rustix::process::getuid().as_raw();
    Trust { admin_group: None, relay_uid: None, own_uid, hidden_uid: None }
}

#[tokio::test]
async fn a_question_gets_its_answer_and_a_live_socket_is_not_replaced() {
    let (_folder, path) = served(nobody());
    let asked = path.clone();
    let answer: u32 = tokio::task::spawn_blocking(move || {
        client::ask(&asked, "relay", &RelayRequest::QueueShow { id: MessageId(1) })
    })
    .await
    .unwrap()
    .unwrap();
    assert_eq!(answer, 1);
    assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_file_follows_its_question_and_nobody_sends_one_who_may_not() {
    let ids = with_a_file();
    let (_folder, path) = served(nobody());
    let (asked, question) = (path.clone(), ids.clone());
    let echoed: String =
        tokio::task::spawn_blocking(move || client::ask_with(&asked, "relay", &question, b"five!"))
            .await
            .unwrap()
            .unwrap();
    assert_eq!(echoed, "five!");
    let (_folder, path) = served(Trust { own_uid: u32::MAX, ..nobody() });
    if rustix::process::getuid().is_root() {
        eprintln!("skipped: root may change everything");
        return;
    }
    let refused = tokio::task::spawn_blocking(move || {
        client::ask_with::<_, String>(&path, "relay", &ids, &vec![0; 1 << 20])
    });
    let refused = refused.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("may look, not change"), "{refused}");
}

#[tokio::test]
async fn only_so_many_files_are_under_way_at_a_time() {
    let (_folder, path) = served(nobody());
    let mut question = serde_json::to_vec(&with_a_file()).unwrap();
    question.push(b'\n');
    // One more than there are places, and none sends its file.
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..=FILES_MAX {
        let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
        stream.write_all(&question).await.unwrap();
        waiting.spawn(async move {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            line
        });
    }
    let first = waiting.join_next().await.unwrap().unwrap();
    assert!(first.contains("other files are being read; ask again"), "{first}");
    assert!(waiting.try_join_next().is_none(), "the others wait for their files");
}

#[tokio::test]
async fn nonsense_gets_an_error_and_too_much_of_it_the_end() {
    let (_folder, path) = served(nobody());
    let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
    stream.write_all(b"nonsense\n").await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("{\"error\":\"not understood"), "{line}");
    // The server may stop reading before all of it is written.
    let _ = stream.write_all(&vec![b'x'; QUESTION_MAX + 2]).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty() || rest.starts_with(b"{\"error\":\"a question has at most"));
}

/// How long what must come at once may take: less than a caller may be silent.
const SOON: Duration = Duration::from_secs(20);

/// Asks once; returns the line that answers.
async fn asked(path: &Path, question: &[u8]) -> String {
    let mut stream = BufReader::new(UnixStream::connect(path).await.unwrap());
    stream.write_all(question).await.unwrap();
    let mut line = String::new();
    timeout(SOON, stream.read_line(&mut line)).await.expect("an answer in time").unwrap();
    line
}

const STATUS: &[u8] = b"{\"verb\":\"status\"}\n";
const ENDLESS: &[u8] = b"{\"verb\":\"route-list\"}\n";

#[tokio::test]
async fn callers_who_say_nothing_keep_nobody_from_an_answer() {
    let (_folder, path) = served(nobody());
    let mut idle = Vec::new();
    for many in [PLACES, UNREAD_MAX] {
        for _ in 0..many {
            idle.push(UnixStream::connect(&path).await.unwrap());
        }
        assert_eq!(asked(&path, PING).await, "{\"ok\":null}\n", "{}", idle.len());
        assert_eq!(asked(&path, STATUS).await, "{\"ok\":{\"verb\":\"status\"}}\n");
    }
    let mut first = BufReader::new(idle.remove(0));
    let mut said = String::new();
    timeout(SOON, first.read_line(&mut said)).await.expect("it gave way").unwrap();
    assert!(said.contains("this one for longest; ask again"), "{said}");
}

#[tokio::test]
async fn whatever_else_is_to_be_answered_a_sign_of_life_comes_and_whoever_finds_no_room_hears_it() {
    let (_folder, path) = served(nobody());
    let mut waiting = tokio::task::JoinSet::new();
    // Two more than there is room for.
    for _ in 0..PLACES + QUEUE_MAX + 2 {
        let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
        stream.write_all(ENDLESS).await.unwrap();
        waiting.spawn(async move {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            line
        });
    }
    for _ in 0..2 {
        let refused = timeout(SOON, waiting.join_next()).await.expect("a refusal in time");
        let refused = refused.unwrap().unwrap();
        assert!(refused.contains("too many questions wait for an answer; ask again"), "{refused}");
    }
    assert_eq!(asked(&path, PING).await, "{\"ok\":null}\n");
    assert!(waiting.try_join_next().is_none(), "the others wait for their answers");
}

#[tokio::test]
async fn whoever_asks_for_signs_of_life_and_reads_none_gives_way_too() {
    let (_folder, path) = served(nobody());
    let mut deaf = Vec::new();
    for _ in 0..=UNREAD_MAX {
        let stream = UnixStream::connect(&path).await.unwrap();
        // Until nobody takes any more, since the answers have no room.
        while timeout(Duration::from_millis(20), stream.writable()).await.is_ok() {
            if stream.try_write(&PING.repeat(100)).is_err() {
                break;
            }
        }
        deaf.push(stream);
    }
    let mut first = deaf.remove(0);
    let mut said = Vec::new();
    // Its end, or its answers and then its end.
    let end = timeout(SOON, first.read_to_end(&mut said)).await.expect("it gave way");
    assert!(end.is_err() || !said.is_empty());
    assert_eq!(asked(&path, PING).await, "{\"ok\":null}\n");
}

#[tokio::test]
async fn a_question_may_be_as_long_as_was_said_and_comes_in_pieces() {
    let (_folder, path) = served(nobody());
    for length in [BEGINNING_MAX - 1, BEGINNING_MAX, BEGINNING_MAX + 1, QUESTION_MAX] {
        let mut question = STATUS.trim_ascii_end().to_vec();
        question.resize(length - 1, b' ');
        question.push(b'\n');
        let said = asked(&path, &question).await;
        assert_eq!(said, "{\"ok\":{\"verb\":\"status\"}}\n", "{length} octets");
    }
}

/// Counts what it is asked to do.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Handler for Counting {
    type Request = RelayRequest;

    async fn answer(&self, _: RelayRequest, _: Vec<u8>, _: Caller) -> Result<Said, String> {
        Said::of(&self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[tokio::test]
async fn who_gave_up_before_it_was_read_has_nothing_done_and_who_only_ended_his_question_has() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as Blocking;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = bind(&path).unwrap();
    let question = serde_json::to_vec(&RelayRequest::RouteList).unwrap();
    let asked = |path: &Path| {
        let mut caller = Blocking::connect(path).unwrap();
        caller.write_all(&[question.as_slice(), b"\n"].concat()).unwrap();
        caller
    };
    // Nobody is served yet.
    drop(asked(&path));
    let mut waits = asked(&path);
    waits.shutdown(Shutdown::Write).unwrap();
    let counting = Arc::new(Counting::default());
    tokio::spawn(serve(listener, nobody(), Arc::clone(&counting)));
    let said = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        waits.read_to_string(&mut said).map(|_| said)
    });
    assert_eq!(said.await.unwrap().unwrap(), "{\"ok\":0}\n");
    let again = tokio::task::spawn_blocking({
        let path = path.clone();
        move || client::ask::<_, u32>(&path, "relay", &RelayRequest::RouteList)
    });
    assert_eq!(again.await.unwrap().unwrap(), 1, "no other was answered");
}
