use super::*;

const ANY: &str = "127.0.0.1:0";

fn open(addresses: &[SocketAddr], record: PathBuf) -> Result<Listeners, ListenError> {
    open_with(addresses, Vec::new(), record)
}

/// Opens what the service manager kept besides.
fn open_with(
    addresses: &[SocketAddr],
    kept: Vec<OwnedFd>,
    record: PathBuf,
) -> Result<Listeners, ListenError> {
    let addresses: Vec<_> = addresses.iter().map(|address| (*address, Guarded::Yes)).collect();
    let kept: Vec<_> =
        kept.into_iter().map(|socket| Inherited { name: "kept".into(), socket }).collect();
    Listeners::examine(&addresses, &kept, &record)?;
    Listeners::open(&addresses, None, kept, record)
}

struct Desk {
    _folder: tempfile::TempDir,
    record: PathBuf,
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    Desk { record: folder.path().join("gate.listeners"), _folder: folder }
}

/// A gate with one listener on a port of the kernel's choice, and that address.
fn first(desk: &Desk) -> (Listeners, SocketAddr) {
    let probe = open(&[ANY.parse().unwrap()], desk.record.clone()).unwrap();
    let address = probe.addresses()[0];
    drop(probe);
    (open(&[address], desk.record.clone()).unwrap(), address)
}

/// Returns why addresses have no socket.
fn problems(listeners: &Listeners) -> Vec<&str> {
    listeners.each().filter_map(|(_, problem)| problem).collect()
}

fn cookie(socket: &OwnedFd) -> u64 {
    sockopt::socket_cookie(socket).unwrap()
}

#[test]
fn a_new_relay_is_sent_every_socket_and_they_listen() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let (handover, sent) = gate.hand_over(Vec::new()).unwrap();
    assert_eq!(handover.listeners, [Handed { address, found: Found::Sent(0) }]);
    assert!(sockopt::socket_acceptconn(&sent[0]).unwrap());
    assert!(sockopt::socket_reuseaddr(&sent[0]).unwrap());
    std::net::TcpStream::connect(address).unwrap();
}

#[test]
fn a_gate_that_comes_back_knows_the_relays_socket_again() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let (_, mut relay) = gate.hand_over(Vec::new()).unwrap();
    drop(gate);
    let mut gate = open(&[address], desk.record.clone()).unwrap();
    assert_eq!(problems(&gate), ["the relay has not shown it yet"]);
    assert!(!gate.try_again());
    let stranger = std::net::TcpListener::bind(ANY).unwrap();
    let shown = vec![OwnedFd::from(stranger), relay.remove(0)];
    let before = cookie(&shown[1]);
    let (handover, sent) = gate.hand_over(shown).unwrap();
    assert_eq!(handover.listeners, [Handed { address, found: Found::Shown(1) }]);
    assert!(sent.is_empty());
    assert_eq!(problems(&gate).len(), 0);
    let (_, sent) = gate.hand_over(Vec::new()).unwrap();
    assert_eq!(cookie(&sent[0]), before, "a relay that is restarted gets the same socket");
}

#[test]
fn a_socket_that_is_not_the_one_noted_is_not_taken() {
    let desk = desk();
    let (gate, address) = first(&desk);
    drop(gate);
    // Somebody else took the address while no gate was there, and shows it as if it were ours.
    let taker = OwnedFd::from(std::net::TcpListener::bind(address).unwrap());
    let mut gate = open(&[address], desk.record.clone()).unwrap();
    let (handover, _) = gate.hand_over(vec![taker.try_clone().unwrap()]).unwrap();
    assert_eq!(handover.listeners, []);
    let problem = problems(&gate)[0];
    assert!(problem.contains("another program listens there"), "{problem}");
    drop(taker);
    assert!(gate.try_again(), "as soon as it is free it is made anew");
    assert_eq!(gate.hand_over(Vec::new()).unwrap().0.listeners.len(), 1);
}

#[test]
fn a_socket_of_another_network_is_not_taken() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let kept = kept_of(&mut gate);
    let before = cookie(&kept);
    drop(gate);
    let mut record: Record = serde_json::from_slice(&fs::read(&desk.record).unwrap()).unwrap();
    assert_eq!(record.sockets.len(), 1);
    for noted in &mut record.sockets {
        noted.network = noted.network.map(|network| network + 1);
    }
    fs::write(&desk.record, serde_json::to_vec(&record).unwrap()).unwrap();
    let mut gate = open_with(&[address], vec![kept], desk.record.clone()).unwrap();
    assert_ne!(cookie(&kept_of(&mut gate)), before);
}

/// Returns another descriptor of the socket that the gate holds, as the service manager has it.
fn kept_of(gate: &mut Listeners) -> OwnedFd {
    gate.hand_over(Vec::new()).unwrap().1.remove(0)
}

#[test]
fn a_socket_that_was_kept_is_taken_with_those_who_wait_in_its_backlog() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let kept = kept_of(&mut gate);
    let before = cookie(&kept);
    drop(gate);
    // Neither gate nor relay is there now.
    let waits = std::net::TcpStream::connect(address).unwrap();
    let mut gate = open_with(&[address], vec![kept], desk.record.clone()).unwrap();
    assert_eq!(problems(&gate).len(), 0);
    let socket = kept_of(&mut gate);
    assert_eq!(cookie(&socket), before);
    let (_, peer) = std::net::TcpListener::from(socket).accept().unwrap();
    assert_eq!(peer, waits.local_addr().unwrap());
}

#[test]
fn a_socket_that_was_kept_and_is_not_the_one_noted_is_closed() {
    for (row, shows_record) in [("another's", true), ("no record", false)] {
        let desk = desk();
        let (gate, address) = first(&desk);
        drop(gate);
        if !shows_record {
            fs::remove_file(&desk.record).unwrap();
        }
        let taker = OwnedFd::from(std::net::TcpListener::bind(address).unwrap());
        let held = taker.try_clone().unwrap();
        let mut gate = open_with(&[address], vec![taker], desk.record.clone()).unwrap();
        assert_eq!(problems(&gate).len(), 1, "{row}");
        assert!(!gate.try_again(), "{row}: the service manager has not closed it yet");
        drop(held);
        assert!(gate.try_again(), "{row}");
        assert_eq!(gate.hand_over(Vec::new()).unwrap().0.listeners.len(), 1, "{row}");
    }
}

/// A gate on `from`, and the address that comes to be instead, on the same port.
fn moved(desk: &Desk, from: &str, to: &str) -> Option<(Listeners, SocketAddr)> {
    let probe = open(&[format!("{from}:0").parse().unwrap()], desk.record.clone()).ok()?;
    let port = probe.addresses()[0].port();
    drop(probe);
    let at = |host: &str| format!("{host}:{port}").parse().unwrap();
    Some((open(&[at(from)], desk.record.clone()).unwrap(), at(to)))
}

#[test]
fn a_listener_whose_address_becomes_wider_or_narrower_is_made_when_the_former_one_is_let_go() {
    for (from, to) in [
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("[::]", "127.0.0.1"),
        ("[::]", "[::1]"),
        ("[::1]", "[::]"),
        ("0.0.0.0", "[::]"),
    ] {
        for holder in ["the service manager", "a relay"] {
            let desk = desk();
            let Some((mut gate, address)) = moved(&desk, from, to) else {
                eprintln!("skipped: this host has no IPv6");
                continue;
            };
            let held = kept_of(&mut gate);
            let is_kept = holder == "the service manager";
            let kept = || is_kept.then(|| held.try_clone().unwrap()).into_iter().collect();
            drop(gate);
            let row = format!("{from} to {to}, {holder}");
            let gate = open_with(&[address], kept(), desk.record.clone());
            let gate = gate.unwrap_or_else(|error| panic!("{row}: {error}"));
            assert_eq!(problems(&gate).len(), 1, "{row}");
            // One that ends while it waits does not make the next one fail.
            drop(gate);
            let mut gate = open_with(&[address], kept(), desk.record.clone()).unwrap();
            assert!(!gate.try_again(), "{row}");
            // The relay is told to serve nothing, so it lets go.
            let (handover, _) = gate.hand_over(vec![held]).unwrap();
            assert_eq!(handover.listeners, [], "{row}");
            assert!(gate.try_again(), "{row}");
            std::net::TcpStream::connect((address.ip(), address.port())).unwrap();
            assert!(!known(&desk.record).iter().any(|noted| noted.address != address), "{row}");
        }
    }
}

#[test]
fn only_who_listens_on_the_same_port_for_the_same_clients_is_in_the_way() {
    for (one, other, is_in_it) in [
        ("127.0.0.1:25", "127.0.0.1:25", true),
        ("127.0.0.1:25", "127.0.0.1:26", false),
        ("127.0.0.1:25", "127.0.0.2:25", false),
        ("0.0.0.0:25", "127.0.0.2:25", true),
        ("0.0.0.0:25", "[::1]:25", false),
        ("0.0.0.0:25", "[::]:25", true),
        ("[::]:25", "127.0.0.2:25", true),
        ("[::]:25", "[::1]:25", true),
        ("[::1]:25", "[::2]:25", false),
        ("[::1]:25", "127.0.0.1:25", false),
    ] {
        let [one, other] = [one, other].map(|text| text.parse::<SocketAddr>().unwrap());
        for (one, other) in [(one, other), (other, one)] {
            assert_eq!(is_in_the_way(one, other), is_in_it, "{one} {other}");
            if one.port() != other.port() || other.to_string() == "[::2]:25" {
                continue;
            }
            // The kernel says the same. A connection of another test may have the port at the other address.
            let at = |address: SocketAddr, port| SocketAddr::new(address.ip(), port);
            let is_free = |_| {
                let first = listen(at(one, 0), None).ok()?;
                let port = local(first.as_fd()).unwrap().port();
                Some(listen(at(other, port), None).is_ok())
            };
            let Some(found) = (0..20).map(is_free).max().flatten() else { continue };
            assert_eq!(!found, is_in_it, "{one} {other}");
        }
    }
}

#[test]
fn what_was_kept_for_an_address_that_is_gone_is_closed() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let kept = kept_of(&mut gate);
    drop(gate);
    let gate = open_with(&[], vec![kept], desk.record.clone()).unwrap();
    assert_eq!(gate.addresses(), []);
    std::net::TcpListener::bind(address).unwrap();
}

#[test]
fn a_socket_whose_listening_the_relay_ended_listens_again_for_the_next_relay() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let relay = kept_of(&mut gate);
    let before = cookie(&relay);
    rustix::net::shutdown(&relay, rustix::net::Shutdown::Both).unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "the relay ended it for all");
    let next = kept_of(&mut gate);
    assert_eq!(cookie(&next), before, "the same socket, so the same door");
    std::net::TcpStream::connect(address).unwrap();
}

#[test]
fn a_socket_that_cannot_listen_again_is_made_anew() {
    let desk = desk();
    let (mut gate, address) = first(&desk);
    let relay = kept_of(&mut gate);
    let before = cookie(&relay);
    rustix::net::shutdown(&relay, rustix::net::Shutdown::Both).unwrap();
    let taker = std::net::TcpListener::bind(address).unwrap();
    let (handover, sent) = gate.hand_over(Vec::new()).unwrap();
    assert_eq!((handover.listeners, sent.len()), (vec![], 0), "two cannot listen there");
    assert!(problems(&gate)[0].contains("another program listens there"), "{:?}", problems(&gate));
    drop(taker);
    assert!(gate.try_again());
    let next = kept_of(&mut gate);
    assert_ne!(cookie(&next), before);
    std::net::TcpStream::connect(address).unwrap();
}

#[test]
fn a_taken_address_that_nobody_noted_is_an_error_with_a_remedy() {
    let desk = desk();
    let taker = std::net::TcpListener::bind(ANY).unwrap();
    let address = taker.local_addr().unwrap();
    let error = open(&[address], desk.record.clone()).unwrap_err().to_string();
    assert!(error.contains("ss -ltnp"), "{error}");
}

#[test]
fn a_connected_socket_is_no_listener_even_with_its_cookie() {
    let listener = std::net::TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    let (served, _) = listener.accept().unwrap();
    let cookie = sockopt::socket_cookie(&served).unwrap();
    assert!(!is_ours(served.as_fd(), cookie, address));
    drop(client);
}

#[test]
fn the_unspecified_ipv6_address_takes_ipv4_clients() {
    let desk = desk();
    let Ok(gate) = open(&["[::]:0".parse().unwrap()], desk.record.clone()) else {
        eprintln!("skipped: this host has no IPv6");
        return;
    };
    let port = gate.addresses()[0].port();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_record_of_another_boot_or_of_nonsense_is_nothing() {
    let desk = desk();
    for text in ["", "{", "{\"boot\":\"other\",\"sockets\":[[\"127.0.0.1:1\",5]]}"] {
        fs::write(&desk.record, text).unwrap();
        assert_eq!(known(&desk.record), []);
    }
}

/// Returns the word that the service manager hears next.
fn heard(manager: &std::os::unix::net::UnixDatagram) -> Option<String> {
    let mut word = [0; 128];
    let count = manager.recv(&mut word).ok()?;
    Some(String::from_utf8_lossy(&word[..count]).replace('\n', " "))
}

#[test]
fn a_service_manager_is_told_each_socket_once_and_nobody_waits_for_one_that_is_busy() {
    let desk = desk();
    let manager = std::os::unix::net::UnixDatagram::bind(desk.record.with_file_name("manager"));
    let manager = manager.unwrap();
    manager.set_nonblocking(true).unwrap();
    let (mut gate, _) = first(&desk);
    let old = Inherited { name: "old".into(), socket: kept_of(&mut gate) };
    let path = desk.record.with_file_name("manager").into_os_string();
    gate.store = Store::new(Some(path), &[old]);
    // It reads nothing, and what waits for it is at its limit.
    let other = std::os::unix::net::UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    let mut waiting = 0;
    while other.send_to(b"other", desk.record.with_file_name("manager")).is_ok() {
        waiting += 1;
    }
    let began = std::time::Instant::now();
    let socket = kept_of(&mut gate);
    assert!(began.elapsed() < std::time::Duration::from_millis(900), "it was waited for");
    for _ in 0..waiting {
        assert_eq!(heard(&manager).as_deref(), Some("other"));
    }
    assert!(!gate.try_again());
    let keep = format!("FDSTORE=1 FDNAME={}", name(cookie(&socket)));
    let words = [heard(&manager), heard(&manager), heard(&manager)];
    assert_eq!(words, [Some("FDSTOREREMOVE=1 FDNAME=old".into()), Some(keep.clone()), None]);
    gate.try_again();
    let relay = kept_of(&mut gate);
    assert_eq!(heard(&manager), None, "it knows");
    rustix::net::shutdown(&relay, rustix::net::Shutdown::Both).unwrap();
    kept_of(&mut gate);
    assert_eq!(heard(&manager), Some(keep), "it has let go of what did not listen");
}
